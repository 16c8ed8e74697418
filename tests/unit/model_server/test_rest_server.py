"""Limits of the HTTP server under the REST API."""

import http.client
import json
import resource
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from rockstar_serving.listening import connection_limit
from rockstar_serving.model_server import rest_server
from rockstar_serving.model_server.models.config import ModelConfig
from rockstar_serving.model_server.options import GrpcOptions, RestOptions, ServerOptions
from rockstar_serving.model_server.server import ModelServer
from tests.fake_engine import FakeLoader, add_version
from tests.integration.model_server.conftest import refused
from tests.waiting import until

PREDICT = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 19\r\n\r\n"
BODY = b'{"inputs":[[1, 2]]}'


@pytest.mark.parametrize(
    ("files", "limit"), [(resource.RLIM_INFINITY, 1000), (2**20, 1000), (1024, 768), (64, 16)]
)
def test_connections_leave_files_for_others(files, limit, monkeypatch):
    """If the system allows few open files (ulimit -n), connections do not use all of them."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    assert connection_limit(1000) == limit


@pytest.fixture
def loader() -> FakeLoader:
    return FakeLoader()


@pytest.fixture
def server(tmp_path: Path, loader: FakeLoader) -> Iterator[ModelServer]:
    """Runs one request at a time."""
    add_version(tmp_path / "m", 1)
    options = ServerOptions(
        (ModelConfig("m", tmp_path / "m"),),
        grpc=GrpcOptions(port=None),
        rest=RestOptions(threads=1),
    )
    with ModelServer(options, loader) as server:
        yield server


@pytest.fixture
def connect(server: ModelServer) -> Iterator[Callable[[], socket.socket]]:
    """Connects to the server."""
    address = ("127.0.0.1", server.rest_port or 0)
    with ExitStack() as stack:
        yield lambda: stack.enter_context(socket.create_connection(address, timeout=30))


def status(client: socket.socket) -> int:
    response = http.client.HTTPResponse(client)
    response.begin()
    response.read()
    return response.status


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_server, "_STALLED_SECONDS", 0.2)
    monkeypatch.setattr(rest_server, "_SWEEP_SECONDS", 0.02)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("sent", [b"", b"POST /v1", PREDICT[:-2]])
def test_connections_that_stall_are_closed(connect, sent):
    client = connect()
    client.sendall(sent)
    assert client.recv(1) == b""


@pytest.mark.usefixtures("short")
def test_a_header_that_trickles_is_not_waited_for(connect: Callable[[], socket.socket]) -> None:
    client = connect()
    client.sendall(b"GET /")

    def closed() -> bool:
        try:
            client.sendall(b"x")
        except ConnectionError:
            return True
        return False

    until(closed, what="the server closes the connection")


@pytest.mark.usefixtures("short")
def test_a_model_that_runs_longer_is_waited_for(connect, loader):
    engine, client, idle = loader.engines[1], connect(), connect()
    engine.proceed.clear()
    client.sendall(PREDICT + BODY)
    assert idle.recv(1) == b""
    engine.proceed.set()
    assert status(client) == 200


def test_a_queued_request_of_a_disconnected_client_does_not_run(connect, loader):
    engine, client, gone = loader.engines[1], connect(), connect()
    engine.proceed.clear()
    client.sendall(PREDICT + BODY)
    until(engine.entered.is_set, what="the model runs")
    gone.sendall(PREDICT + BODY)
    gone.shutdown(socket.SHUT_WR)
    assert gone.recv(1) == b""
    engine.proceed.set()
    assert status(client) == 200
    client.sendall(PREDICT + BODY)
    assert status(client) == 200
    assert len(engine.runs) == 2


def test_connections_beyond_the_limit_wait(monkeypatch, request):
    monkeypatch.setattr(rest_server, "connection_limit", lambda _: 1)
    connect: Callable[[], socket.socket] = request.getfixturevalue("connect")
    first, second = connect(), connect()
    for client in (first, second):
        client.sendall(PREDICT + BODY)
    assert status(first) == 200
    second.settimeout(0.05)
    with pytest.raises(TimeoutError):
        second.recv(1)
    second.settimeout(30)
    first.close()
    assert status(second) == 200


def test_a_response_that_is_read_slowly_is_sent_whole_at_a_stop(connect, server):
    client = connect()
    body = json.dumps({"signature_name": "echo", "inputs": ["x" * 8_000_000]}).encode()
    head = f"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    client.sendall(head.encode() + body)
    response = http.client.HTTPResponse(client)
    response.begin()  # the rest fills the buffers between
    with ThreadPoolExecutor(1) as pool:
        stopped = pool.submit(server.stop, 30)
        until(lambda: refused(server.rest_port or 0), what="the server stops")
        assert len(json.loads(response.read())["outputs"]["text"][0]) == 8_000_000
        assert stopped.result()
