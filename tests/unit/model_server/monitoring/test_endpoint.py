"""The REST API with its metrics beside it."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client

from rockstar_serving.model_server.inference.core import Core
from rockstar_serving.model_server.models.config import ModelConfig
from rockstar_serving.model_server.models.manager import Manager
from rockstar_serving.model_server.monitoring.endpoint import Monitoring
from rockstar_serving.model_server.options import LoadOptions
from rockstar_serving.model_server.rest_api.service import CODE_KEY, RECEIVED_KEY, RestService
from tests.fake_engine import FakeLoader, add_version
from tests.metrics import SERVING, totals
from tfs_api.status import Code

PATH = "/monitoring/prometheus/metrics"
COUNT, LATENCY = f"{SERVING}request_count", f"{SERVING}request_latency_count"
RUNTIME = f"{SERVING}runtime_latency_count"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    monitoring = Monitoring(PATH)
    add_version(tmp_path, 1)
    manager = Manager([ModelConfig("m", tmp_path)], FakeLoader(), LoadOptions(poll_seconds=0))
    manager.start()
    yield Client(monitoring.around(RestService(Core(manager, observer=monitoring.metrics))))
    manager.stop()


def scrape(client: Client) -> dict[tuple[str, ...], float]:
    found = totals(client.get(PATH).text)
    return {key: value for key, value in found.items() if not key[0].endswith("_sum")}


def post(path: str, body: Any) -> Callable[[Client], Any]:
    return lambda client: client.post(f"/v1/models/{path}", json=body)


def get(path: str) -> Callable[[Client], Any]:
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
    client: Client, ask: Callable[[Client], Any], counted: dict[tuple[str, ...], float]
) -> None:
    ask(client)
    assert scrape(client) == counted


def test_what_took_too_long_was_not_answered() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ[CODE_KEY] = Code.OK
        start_response("200 OK", [])
        return []

    monitoring = Monitoring(PATH, timeout_seconds=10)
    client = Client(monitoring.around(app))
    now = time.monotonic()
    client.get("/v1/models/m", environ_overrides={RECEIVED_KEY: now - 11})
    client.get("/v1/models/m", environ_overrides={RECEIVED_KEY: now})
    assert scrape(client) == {
        (COUNT, "", "DEADLINE_EXCEEDED"): 1,
        (COUNT, "", "OK"): 1,
        (LATENCY, "", "", "REST"): 1,
    }


def test_a_path_that_is_not_ascii(tmp_path: Path) -> None:
    def app(*_: Any) -> list[bytes]:
        raise AssertionError

    assert Client(Monitoring("/zählwerk").around(app)).get("/zählwerk").status_code == 200


def test_the_page(client: Client) -> None:
    response = client.get(f"{PATH}?x=1")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.text.startswith("# TYPE :tensorflow:")
    assert client.head(PATH).status_code == 200
    assert client.get(f"{PATH}/").status_code == 404
