"""Requests that take longer than --rest_api_timeout_in_ms."""

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rockstar_serving.model_server.options import GrpcOptions, RestOptions
from rockstar_serving.model_server.server import ModelServer
from tests.fake_engine import FakeEngine, FakeLoader
from tests.integration.model_server.conftest import ask, fake_server
from tests.waiting import until

STILL_RUNNING = {
    "error": "the model was still running after 800 ms (--rest_api_timeout_in_ms)",
}
NOT_BEGUN = {"error": "the deadline passed before the model was run"}
BODY = {"inputs": [[1, 2]]}


@pytest.fixture
def server(tmp_path: Path, loader: FakeLoader) -> Iterator[ModelServer]:
    rest = RestOptions(threads=1, timeout_seconds=0.8, cors=True)
    with fake_server(tmp_path, loader, GrpcOptions(port=None), rest) as server:
        yield server


@pytest.fixture
def engine(server: ModelServer, loader: FakeLoader) -> Iterator[FakeEngine]:
    engine = loader.engines[1]
    engine.proceed.clear()
    yield engine
    engine.proceed.set()


def predict(server: ModelServer) -> tuple[int, Any]:
    return ask(server.rest_address, "/v1/models/m:predict", BODY)


def test_a_model_that_runs_too_long(server: ModelServer, engine: FakeEngine) -> None:
    assert predict(server) == (504, STILL_RUNNING)
    # It holds the only thread: what comes now is answered in its time, and never begun.
    engine.entered.clear()
    assert predict(server) == (504, NOT_BEGUN)
    engine.proceed.set()
    until(lambda: predict(server)[0] == 200, what="the thread is free again")
    assert predict(server) == (200, {"outputs": [[2, 4]]})


def test_the_connection_ends_with_the_request(server: ModelServer, engine: FakeEngine) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port or 0, timeout=30)
    connection.request("POST", "/v1/models/m:predict", json.dumps(BODY))
    response = connection.getresponse()
    assert response.status == 504
    assert response.getheader("Connection") == "close"
    assert response.getheader("Access-Control-Allow-Origin") == "*"
    assert json.loads(response.read()) == STILL_RUNNING
    engine.proceed.set()
    connection.close()


def test_late_results_are_discarded(server: ModelServer, engine: FakeEngine) -> None:
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(predict, server)
        assert engine.entered.wait(30)
        assert first.result() == (504, STILL_RUNNING)
    engine.proceed.set()
    until(lambda: predict(server)[0] == 200, what="the thread is free again")
    # What was dropped is not in the way of what comes.
    assert [predict(server) for _ in range(3)] == [(200, {"outputs": [[2, 4]]})] * 3


def test_a_stop_reports_that_a_model_still_runs(server: ModelServer, engine: FakeEngine) -> None:
    assert predict(server) == (504, STILL_RUNNING)
    assert not server.stop()
