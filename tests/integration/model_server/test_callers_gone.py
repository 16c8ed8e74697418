"""Official stubs whose callers disconnect while their requests are queued."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from rockstar_serving.model_server.options import GrpcOptions
from tests.fake_engine import FakeEngine, FakeLoader
from tests.integration.model_server.conftest import fake_server
from tests.waiting import until

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

QUEUED = 30


@pytest.fixture
def channel(tmp_path: Path, loader: FakeLoader) -> Iterator[grpc.Channel]:
    """A channel to a server that handles one call at a time."""
    with (
        fake_server(tmp_path, loader, GrpcOptions(threads=1)) as server,
        grpc.insecure_channel(str(server.grpc_address)) as channel,
    ):
        yield channel


@pytest.fixture
def engine(channel: grpc.Channel, loader: FakeLoader) -> FakeEngine:
    return loader.engines[1]


def request() -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.ones((1, 2), np.float32)))
    return request


def occupy(predict: Any, engine: FakeEngine) -> Any:
    """A call that stays in the engine until it may proceed."""
    engine.proceed.clear()
    slow = predict.future(request(), timeout=60)
    until(engine.entered.is_set, what="the slow call is in the engine")
    return slow


def let_go(predict: Any, engine: FakeEngine, slow: Any) -> None:
    """Let the slow call finish, and another one queued behind all the others."""
    engine.proceed.set()
    assert slow.result().model_spec.name == "m"
    assert predict(request(), timeout=60).model_spec.name == "m"


def test_calls_past_their_deadline_in_the_queue(channel: grpc.Channel, engine: FakeEngine) -> None:
    predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
    slow = occupy(predict, engine)
    queued = [predict.future(request(), timeout=0.2) for _ in range(QUEUED)]
    assert {call.code() for call in queued} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    let_go(predict, engine, slow)
    assert len(engine.runs) == 2


def test_calls_that_were_cancelled_in_the_queue(channel: grpc.Channel, engine: FakeEngine) -> None:
    predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
    slow = occupy(predict, engine)
    queued = [predict.future(request(), timeout=60) for _ in range(QUEUED)]
    for call in queued:
        call.cancel()
    # Rejected without a thread of the pool, after earlier data on the same connection.
    unknown: Any = channel.unary_unary("/none/None")
    with pytest.raises(grpc.RpcError, match="Method not found"):
        unknown(b"", timeout=60)
    let_go(predict, engine, slow)
    assert len(engine.runs) == 2
