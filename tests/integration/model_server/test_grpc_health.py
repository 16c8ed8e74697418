"""grpc.health.v1, with its public client."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rockstar_serving.model_server.options import GrpcOptions
from rockstar_serving.model_server.server import ModelServer
from tests.fake_engine import FakeLoader
from tests.grpc_calls import failure, predict_request, stub
from tests.integration.model_server.conftest import fake_server
from tests.waiting import until
from tfs_api.services import PREDICT

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ModelServer]:
    with fake_server(tmp_path, grpc=GrpcOptions(health=True)) as server:
        yield server


@pytest.fixture
def health(server: ModelServer) -> Iterator[Any]:
    with grpc.insecure_channel(str(server.grpc_address)) as channel:
        yield health_pb2_grpc.HealthStub(channel)


# TensorFlow Serving reports the first three.
@pytest.mark.parametrize(
    "service",
    [
        "",
        "ModelService",
        "PredictionService",
        "tensorflow.serving.ModelService",
        "tensorflow.serving.PredictionService",
    ],
)
def test_check(health: Any, service: str) -> None:
    answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=30)
    assert answer.status == SERVING


def test_a_service_that_is_not_there(health: Any) -> None:
    code, _ = failure(health.Check, health_pb2.HealthCheckRequest(service="Nonsense"))
    assert code == "NOT_FOUND"


def test_watchers_get_not_serving_and_do_not_delay_the_stop(
    server: ModelServer, health: Any, caplog: pytest.LogCaptureFixture
) -> None:
    watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=60)
    assert next(watch).status == SERVING
    assert server.stop(grace=60)  # false if it had waited for the watcher
    assert next(watch).status == NOT_SERVING
    assert not list(watch)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_it_does_not_wait_behind_predictions(tmp_path: Path, loader: FakeLoader) -> None:
    with (
        fake_server(tmp_path, loader, GrpcOptions(health=True, threads=1)) as server,
        grpc.insecure_channel(str(server.grpc_address)) as channel,
    ):
        engine = loader.engines[1]
        engine.proceed.clear()
        request = predict_request("m", x=np.ones((1, 2), np.float32))
        slow = stub(channel, PREDICT).future(request, timeout=60)
        until(engine.entered.is_set, what="the only thread is busy")
        health = health_pb2_grpc.HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=30).status == SERVING
        assert next(health.Watch(health_pb2.HealthCheckRequest(), timeout=30)).status == SERVING
        engine.proceed.set()
        assert slow.result()


def test_it_is_off_without_the_flag(tmp_path: Path) -> None:
    with (
        fake_server(tmp_path) as server,
        grpc.insecure_channel(str(server.grpc_address)) as channel,
    ):
        check = health_pb2_grpc.HealthStub(channel).Check
        assert failure(check, health_pb2.HealthCheckRequest())[0] == "UNIMPLEMENTED"
