"""The REST API with its metrics beside it."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rockstar_serving.model_server.core import Core
from rockstar_serving.model_server.models.config import ModelConfig
from rockstar_serving.model_server.models.manager import Manager
from rockstar_serving.model_server.monitoring.endpoint import Monitoring
from rockstar_serving.model_server.options import LoadOptions, RestOptions
from rockstar_serving.model_server.rest import RestApi
from tests.fake_engine import FakeLoader, add_version
from tests.metrics import SERVING, totals
from tests.rest_client import RestClient

PATH = "/monitoring/prometheus/metrics"
COUNT, LATENCY = f"{SERVING}request_count", f"{SERVING}request_latency_count"
RUNTIME = f"{SERVING}runtime_latency_count"


@pytest.fixture
def monitoring() -> Monitoring:
    return Monitoring(PATH)


@pytest.fixture
def core(tmp_path: Path, monitoring: Monitoring) -> Iterator[Core]:
    add_version(tmp_path, 1)
    manager = Manager([ModelConfig("m", tmp_path)], FakeLoader(), LoadOptions(poll_seconds=0))
    manager.start()
    yield Core(manager, observer=monitoring.metrics)
    manager.stop()


@pytest.fixture
def client(core: Core, monitoring: Monitoring) -> RestClient:
    return RestClient(RestApi(core, RestOptions(timeout_seconds=10), monitoring))


def scrape(client: RestClient) -> dict[tuple[str, ...], float]:
    found = totals(client.get(PATH).text)
    return {key: value for key, value in found.items() if not key[0].endswith("_sum")}


def post(path: str, body: Any) -> Callable[[RestClient], Any]:
    return lambda client: client.post(f"/v1/models/{path}", json=body)


def get(path: str) -> Callable[[RestClient], Any]:
    return lambda client: client.get(path)


@pytest.mark.parametrize(
    ("ask", "counted"),
    [
        (
            post("m:predict", {"instances": [[1, 2]]}),
            {
                (COUNT, "m", "OK"): 1,
                (LATENCY, "m", "predict", "REST"): 1,
                (RUNTIME, "m", "Predict", "TF1"): 1,
            },
        ),
        (
            post("m/versions/1:predict?x=1", {"instances": [[1, 2]]}),
            {(COUNT, "", "INVALID_ARGUMENT"): 1},
        ),
        (post("m:predict", {"instances": ["one"]}), {(COUNT, "m", "INVALID_ARGUMENT"): 1}),
        (post("m/versions/7:predict", {"instances": [1]}), {(COUNT, "m", "NOT_FOUND"): 1}),
        (post("none:predict", {"instances": [1]}), {(COUNT, "none", "NOT_FOUND"): 1}),
        (
            post("m:predict", {"signature_name": "fail", "instances": [1]}),
            {(COUNT, "m", "INTERNAL"): 1},
        ),
        (get("/v1/models/m"), {(COUNT, "m", "OK"): 1, (LATENCY, "m", "", "REST"): 1}),
        (
            get("/v1/models/m/versions/1/metadata"),
            {(COUNT, "m", "OK"): 1, (LATENCY, "m", "", "REST"): 1},
        ),
        (get("/v1/models"), {(COUNT, "", "INVALID_ARGUMENT"): 1}),
        (get("/v1/else"), {(COUNT, "", "INVALID_ARGUMENT"): 1}),
        (get("/else"), {}),
        (lambda client: client.options("/v1/models/m"), {}),
        (get(PATH), {}),
    ],
)
def test_what_is_counted(
    client: RestClient, ask: Callable[[RestClient], Any], counted: dict[tuple[str, ...], float]
) -> None:
    ask(client)
    assert scrape(client) == counted


def test_what_took_too_long_was_not_answered(client: RestClient) -> None:
    now = time.monotonic()
    client.get("/v1/models/m", received_at=now - 11)
    client.get("/v1/models/m", received_at=now)
    assert scrape(client) == {
        (COUNT, "m", "DEADLINE_EXCEEDED"): 1,
        (COUNT, "m", "OK"): 1,
        (LATENCY, "m", "", "REST"): 1,
    }


def test_a_path_that_is_not_ascii(core: Core) -> None:
    client = RestClient(RestApi(core, monitoring=Monitoring("/zählwerk")))
    for path in ("/zählwerk", "/z%C3%A4hlwerk"):
        assert client.get(path).status_code == 200


def test_the_page(client: RestClient) -> None:
    response = client.get(f"{PATH}?x=1")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.text.startswith("# TYPE :tensorflow:")
    assert client.get(f"{PATH}/").status_code == 404
