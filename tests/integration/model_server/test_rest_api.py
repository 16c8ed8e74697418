"""REST over a real socket, and its timeout."""

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from rockstar_serving.model_server.models.config import ModelConfig
from rockstar_serving.model_server.options import (
    GrpcOptions,
    LoadOptions,
    RestOptions,
    ServerOptions,
)
from rockstar_serving.model_server.server import ModelServer
from tests.fake_engine import FakeEngine, FakeLoader, add_version
from tests.integration.model_server.conftest import ask, fake_server, refused
from tests.waiting import until


def test_names_that_a_url_must_quote(tmp_path: Path) -> None:
    """TensorFlow Serving accepts any except '/' and ':', which its patterns reserve for the path."""
    names = ["team/digits", "digits:v2", "my digits", "chiffres été 数字", "100%", "a%2Fb", "a?b#c"]
    add_version(tmp_path / "m", 1)
    configs = tuple(ModelConfig(name, tmp_path / "m", labels={"a/b": 1}) for name in names)
    options = ServerOptions(configs, load=LoadOptions(allow_labels_for_unavailable=True))
    with ModelServer(options, FakeLoader()) as server:
        for name in names:
            path = f"/v1/models/{quote(name, safe='')}"
            for version in ("", "/versions/1", "/labels/a%2Fb"):
                status, answer = ask(server.rest_address, f"{path}{version}/metadata")
                assert (status, answer["model_spec"]["name"]) == (200, name)
                assert ask(server.rest_address, f"{path}{version}")[0] == 200
                found = ask(server.rest_address, f"{path}{version}:predict", {"inputs": [[1, 2]]})
                assert found == (200, {"outputs": [[2, 4]]})
        assert ask(server.rest_address, "/v1/models/team/digits")[0] == 400


def test_a_stop_closes_kept_connections(tmp_path: Path, loader: FakeLoader) -> None:
    with (
        fake_server(tmp_path, loader, GrpcOptions(port=None), RestOptions()) as server,
        ThreadPoolExecutor(2) as pool,
    ):
        port = server.rest_port or 0
        engine = loader.engines[1]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        engine.proceed.clear()
        answer = pool.submit(predict, connection)
        assert engine.entered.wait(30)
        stopped = pool.submit(server.stop)
        until(lambda: refused(port), what="refusal of new connections")
        engine.proceed.set()
        assert answer.result() == (200, "close")
        assert stopped.result()
        connection.close()


def predict(connection: http.client.HTTPConnection) -> tuple[int, str | None]:
    connection.request("POST", "/v1/models/m:predict", json.dumps({"inputs": [[1, 2]]}))
    response = connection.getresponse()
    response.read()
    return response.status, response.getheader("Connection")


# Requests that exceed --rest_api_timeout_in_ms.
STILL_RUNNING = {"error": "the model was still running after 800 ms (--rest_api_timeout_in_ms)"}
NOT_BEGUN = {"error": "the deadline passed before the model was run"}
BODY = {"inputs": [[1, 2]]}


@pytest.fixture
def impatient(tmp_path: Path, loader: FakeLoader) -> Iterator[ModelServer]:
    rest = RestOptions(threads=1, timeout_seconds=0.8, cors=True)
    with fake_server(tmp_path, loader, GrpcOptions(port=None), rest) as server:
        yield server


@pytest.fixture
def engine(impatient: ModelServer, loader: FakeLoader) -> Iterator[FakeEngine]:
    engine = loader.engines[1]
    engine.proceed.clear()
    yield engine
    engine.proceed.set()


def predict_over(server: ModelServer) -> tuple[int, Any]:
    return ask(server.rest_address, "/v1/models/m:predict", BODY)


def test_a_model_that_runs_too_long(impatient: ModelServer, engine: FakeEngine) -> None:
    assert predict_over(impatient) == (504, STILL_RUNNING)
    # It occupies the only thread; the next request times out and never runs.
    engine.entered.clear()
    assert predict_over(impatient) == (504, NOT_BEGUN)
    engine.proceed.set()
    until(lambda: predict_over(impatient)[0] == 200, what="the thread is free again")
    # Late results are discarded.
    assert [predict_over(impatient) for _ in range(3)] == [(200, {"outputs": [[2, 4]]})] * 3


def test_the_connection_ends_with_the_request(impatient: ModelServer, engine: FakeEngine) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", impatient.rest_port or 0, timeout=30)
    connection.request("POST", "/v1/models/m:predict", json.dumps(BODY))
    response = connection.getresponse()
    assert response.status == 504
    assert response.getheader("Connection") == "close"
    assert response.getheader("Access-Control-Allow-Origin") == "*"
    assert json.loads(response.read()) == STILL_RUNNING
    engine.proceed.set()
    connection.close()


def test_a_stop_reports_that_a_model_still_runs(impatient: ModelServer, engine: FakeEngine) -> None:
    assert predict_over(impatient) == (504, STILL_RUNNING)
    assert not impatient.stop()
