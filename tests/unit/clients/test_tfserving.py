"""The tensor client: its messages, and unavailable, busy or recovered servers."""

import socket
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from rockstar_client.backend import Query
from rockstar_client.errors import InvalidRequestError, NotFoundError, ServerError, UnavailableError
from rockstar_client.tfserving import TFServingClient
from tests.name_server import NameServer
from tests.unit.clients import grpc_server
from tests.unit.clients.grpc_server import running
from tests.waiting import until
from tfs_api.messages.inference_pb2 import ClassificationResponse, Input, RegressionResponse
from tfs_api.messages.model_status_pb2 import GetModelStatusResponse
from tfs_api.messages.prediction_pb2 import (
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tfs_api.services import (
    CLASSIFY,
    GET_MODEL_METADATA,
    GET_MODEL_STATUS,
    PREDICT,
    REGRESS,
    SIGNATURE_DEF_MAP_URL,
)
from tfs_api.status import Code

EXAMPLES = Input(example_list={"examples": [b"first", b"second"]})


class Server:
    """Records requests, and returns prepared responses."""

    def __init__(self) -> None:
        self.requests: list = []
        self.answers: dict = {}
        self.failure: tuple | None = None
        self.server = grpc.server(ThreadPoolExecutor(2))
        for method in (PREDICT, CLASSIFY, REGRESS, GET_MODEL_METADATA, GET_MODEL_STATUS):
            handler = grpc.unary_unary_rpc_method_handler(
                self.handler(method),
                request_deserializer=method.request.FromString,
                response_serializer=method.response.SerializeToString,
            )
            generic = grpc.method_handlers_generic_handler(method.service, {method.name: handler})
            self.server.add_generic_rpc_handlers((generic,))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def handler(self, method):
        def handle(request, context):
            self.requests.append(request)
            if self.failure:
                context.abort(*self.failure)
            return self.answers[method]

        return handle


@pytest.fixture
def server():
    server = Server()
    yield server
    server.server.stop(0).wait()


@pytest.fixture
def client(server):
    with TFServingClient(f"127.0.0.1:{server.port}") as client:
        yield client


def test_classify_and_regress(client, server):
    classes = {"classifications": [{"classes": [{"label": "a", "score": 0.5}]}]}
    server.answers[CLASSIFY] = ClassificationResponse(result=classes)
    server.answers[REGRESS] = RegressionResponse(result={"regressions": [{"value": 1.5}]})
    found = client.classify(Query("toy", examples=EXAMPLES, label="stable", signature="classes"))
    assert found.result.classifications[0].classes[0].label == "a"
    assert (
        client.regress(Query("toy", examples=EXAMPLES, version=3)).result.regressions[0].value
        == 1.5
    )
    classify, regress = server.requests
    spec = classify.model_spec
    assert (spec.name, spec.version_label, spec.signature_name) == ("toy", "stable", "classes")
    assert (regress.model_spec.version.value, regress.model_spec.signature_name) == (3, "")
    assert classify.input == regress.input == EXAMPLES


def test_signatures(client, server):
    defs = SignatureDefMap(signature_def={"serving_default": {"method_name": "predict"}})
    response = GetModelMetadataResponse(model_spec={"name": "toy"})
    response.model_spec.version.value = 7
    response.metadata["signature_def"].type_url = SIGNATURE_DEF_MAP_URL
    response.metadata["signature_def"].value = defs.SerializeToString()
    server.answers[GET_MODEL_METADATA] = response
    metadata = client.metadata(Query("toy", label="stable"))
    assert metadata.version == 7
    assert metadata.signatures["serving_default"].method_name == "predict"
    assert server.requests[0].metadata_field == ["signature_def"]
    response.metadata["signature_def"].value = b"\xff"
    with pytest.raises(ServerError, match="the signatures of model toy cannot be read"):
        client.metadata(Query("toy"))


def test_status(client, server):
    states = [
        {"version": 1, "state": "AVAILABLE"},
        {"version": 2, "state": "END", "status": {"error_code": 5, "error_message": "gone"}},
    ]
    server.answers[GET_MODEL_STATUS] = GetModelStatusResponse(model_version_status=states)
    newest, oldest = client.status(Query("toy", version=2))
    assert (newest.version, newest.state, newest.error, newest.code) == (
        2,
        "END",
        "gone",
        Code.NOT_FOUND,
    )
    assert (oldest.version, oldest.state, oldest.code) == (1, "AVAILABLE", Code.OK)
    assert server.requests[0].model_spec.version.value == 2


def test_an_unknown_label_is_not_found(client, server):
    """TensorFlow Serving returns INVALID_ARGUMENT."""
    server.failure = (grpc.StatusCode.INVALID_ARGUMENT, "Unrecognized servable version label: x")
    with pytest.raises(NotFoundError, match="version label: x"):
        client.contract(Query("toy", label="x"))
    with pytest.raises(InvalidRequestError):
        client.predict(Query("toy", label="x"))
    server.failure = (grpc.StatusCode.INVALID_ARGUMENT, "no such signature")
    with pytest.raises(ServerError, match="carries no contract"):
        client.contract(Query("toy"))


QUERY = Query("toy", {"image": np.zeros((1, 8, 8, 1), np.float32)})
BUSY = (grpc.StatusCode.UNAVAILABLE, "the queue is full")


@pytest.fixture
def busy_server():
    return grpc_server.Server()


def test_retries_are_throttled_while_most_calls_fail(busy_server):
    with running(busy_server) as address, TFServingClient(address) as client:
        busy_server.failures = [BUSY] * 1000
        for _ in range(20):
            with pytest.raises(UnavailableError, match="the queue is full"):
                client.predict(QUERY)
        assert len(busy_server.metadata) < 30
        # Retries resume once calls succeed.
        busy_server.failures = []
        for _ in range(20):
            client.predict(QUERY)
        busy_server.failures, before = [BUSY], len(busy_server.metadata)
        client.predict(QUERY)
        assert len(busy_server.metadata) == before + 2


def test_reconnects_to_a_restarted_server(busy_server):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    with TFServingClient(address) as client:
        with pytest.raises(UnavailableError, match=f"no model server answers at {address}"):
            client.predict(QUERY)

        def answers() -> bool:
            try:
                client.predict(QUERY)
            except UnavailableError:
                return False
            return True

        for _ in range(2):
            with running(busy_server, address=address):
                # gRPC's own pause between attempts would grow to two minutes.
                until(answers, seconds=10)
            until(lambda: not answers())


@pytest.mark.skipif(sys.platform != "linux", reason="needs more than one address of this machine")
def test_calls_use_all_addresses_of_a_name_in_turn(busy_server):
    other = grpc_server.Server()
    with running(busy_server, address="127.0.0.2:0") as address:
        port = int(address.rpartition(":")[2])
        with (
            running(other, address=f"127.0.0.3:{port}"),
            NameServer("127.0.0.2", "127.0.0.3") as names,
            TFServingClient(names.target(port)) as client,
        ):

            def both_called():
                client.predict(QUERY)
                return busy_server.predictions > 0 and other.predictions > 0

            until(both_called)
            before = busy_server.predictions, other.predictions
            for _ in range(10):
                client.predict(QUERY)
            after = busy_server.predictions, other.predictions
            assert np.subtract(after, before).tolist() == [5, 5]
