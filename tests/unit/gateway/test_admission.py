"""Requests beyond what there is room for are refused at once, and probes never are."""

import dataclasses
import io
from concurrent.futures import ThreadPoolExecutor

import pytest

from rockstar_serving.gateway.app import create_app
from rockstar_serving.gateway.observers import Observer
from tests.images import png, stroke
from tests.waiting import until

IMAGE = {"data": png(stroke()), "content_type": "image/png"}


class Notes(Observer):
    def __init__(self) -> None:
        self.refusals: list[str] = []
        self.loads: list[int] = []

    def refused(self, why, requests=1):
        self.refusals.append(why)

    def in_flight(self, requests):
        self.loads.append(requests)


@pytest.fixture
def notes():
    return Notes()


@pytest.fixture
def app(config, server, notes):
    return create_app(dataclasses.replace(config, threads=1, queue=1), server, observers=[notes])


@pytest.fixture
def full(app, server, notes):
    """An application with one request at work and one that waits."""
    server.proceed.clear()
    with ThreadPoolExecutor(2) as pool:
        requests = [pool.submit(app.test_client().post, "/predict/toy", **IMAGE) for _ in range(2)]
        until(lambda: max(notes.loads, default=0) == 2 and server.entered)
        yield app
        server.proceed.set()
        assert [request.result(30).status_code for request in requests] == [200, 200]
    assert notes.loads[-1] == 0


def test_beyond_the_queue_requests_are_refused_before_their_body_is_read(full, notes):
    body = io.BytesIO(IMAGE["data"])
    response = full.test_client().post("/predict/toy", input_stream=body, content_type="image/png")
    assert response.status_code == 429
    assert body.tell() == 0
    assert int(response.headers["Retry-After"]) >= 1
    assert response.mimetype == "application/problem+json"
    assert response.get_json()["request_id"] == response.headers["X-Request-ID"]
    assert notes.refusals == ["queue"]


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_are_answered_when_it_is_full(full, path):
    assert full.test_client().get(path).status_code == 200


def test_time_in_the_queue_counts(app, server, notes):
    server.proceed.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(app.test_client().post, "/predict/toy", **IMAGE)
        until(lambda: server.entered)
        headers = {"X-Request-Timeout": "0.05"}
        response = app.test_client().post("/predict/toy", headers=headers, **IMAGE)
        assert response.status_code == 504
        assert "0.05 s" in response.get_json()["detail"]
        server.proceed.set()
        assert first.result(30).status_code == 200
    assert len(server.batches) == 1


def test_there_is_room_again(full, server):
    server.proceed.set()
    until(lambda: full.test_client().post("/predict/toy", **IMAGE).status_code == 200)
