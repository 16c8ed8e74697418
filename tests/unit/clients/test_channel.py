"""How the client gets along with a server that is away, busy or back."""

import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import numpy as np
import pytest

from rockstar_client.backend import Query
from rockstar_client.errors import UnavailableError
from rockstar_client.tfserving import TFServingClient
from tests.name_server import NameServer
from tests.waiting import until
from tfs_api.messages.prediction_pb2 import PredictRequest, PredictResponse

QUERY = Query("toy", {"x": np.zeros(1, np.float32)})


class Server:
    """Answers Predict, or aborts as often as it is told."""

    def __init__(self) -> None:
        self.calls = 0
        self.busy = 0
        self.lock = threading.Lock()

    def predict(self, _request, context):
        with self.lock:
            self.calls += 1
            busy, self.busy = self.busy, self.busy - 1
        if busy > 0:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the queue is full")
        return PredictResponse()

    @contextmanager
    def running(self, port: int = 0, host: str = "127.0.0.1") -> Iterator[int]:
        method = grpc.unary_unary_rpc_method_handler(
            self.predict,
            request_deserializer=PredictRequest.FromString,
            response_serializer=PredictResponse.SerializeToString,
        )
        service = "tensorflow.serving.PredictionService"
        server = grpc.server(ThreadPoolExecutor(2))
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {"Predict": method}),)
        )
        port = server.add_insecure_port(f"{host}:{port}")
        server.start()
        try:
            yield port
        finally:
            server.stop(0).wait()


@pytest.fixture
def server():
    return Server()


def test_a_busy_server_is_asked_again(server):
    with server.running() as port, TFServingClient(f"127.0.0.1:{port}") as client:
        server.busy = 2
        client.predict(QUERY)
        assert server.calls == 3


def test_a_server_in_trouble_gets_no_more_calls_for_it(server):
    with server.running() as port, TFServingClient(f"127.0.0.1:{port}") as client:
        server.busy = 1000
        for _ in range(20):
            with pytest.raises(UnavailableError, match="the queue is full"):
                client.predict(QUERY)
        assert server.calls < 30
        # And again more when it is well.
        server.busy = 0
        for _ in range(20):
            client.predict(QUERY)
        server.busy, before = 1, server.calls
        client.predict(QUERY)
        assert server.calls == before + 2


def test_a_server_that_is_back_is_found(server):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with TFServingClient(f"127.0.0.1:{port}") as client:
        with pytest.raises(UnavailableError, match=f"no model server answers at 127.0.0.1:{port}"):
            client.predict(QUERY)

        def answers() -> bool:
            try:
                client.predict(QUERY)
            except UnavailableError:
                return False
            return True

        for _ in range(2):
            with server.running(port):
                # gRPC's own pause between attempts would grow to two minutes.
                until(answers, seconds=10)
            until(lambda: not answers())


@pytest.mark.skipif(sys.platform != "linux", reason="needs more than one address of this machine")
def test_calls_go_to_all_addresses_of_a_name_in_turn(server):
    other = Server()
    with (
        server.running(host="127.0.0.2") as port,
        other.running(port, host="127.0.0.3"),
        NameServer("127.0.0.2", "127.0.0.3") as names,
        TFServingClient(names.target(port)) as client,
    ):

        def both_asked():
            client.predict(QUERY)
            return server.calls > 0 and other.calls > 0

        until(both_asked)
        before = server.calls, other.calls
        for _ in range(10):
            client.predict(QUERY)
        assert (server.calls - before[0], other.calls - before[1]) == (5, 5)
