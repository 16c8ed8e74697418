"""Where a server listens, and what it says where it cannot."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from serving.api.services import GET_MODEL_STATUS
from serving.model_server.models.config import ModelConfig
from serving.model_server.models.manager import StartError
from serving.model_server.options import GrpcOptions, RestOptions, ServerOptions
from serving.model_server.server import ModelServer
from tests.fake_engine import FakeLoader, add_version

OFF = RestOptions(port=None)


def new_server(
    folder: Path,
    grpc: GrpcOptions,
    rest: RestOptions = OFF,
    host: str = "127.0.0.1",
    loader: FakeLoader | None = None,
) -> ModelServer:
    add_version(folder / "m", 1)
    models = (ModelConfig("m", folder / "m"),)
    options = ServerOptions(models=models, host=host, grpc=grpc, rest=rest)
    return ModelServer(options, load=loader or FakeLoader())


def state(address: str) -> int:
    """Of the only version, asked over gRPC."""
    request = GET_MODEL_STATUS.request()
    request.model_spec.name = "m"
    with grpc.insecure_channel(address) as channel:
        call: Any = channel.unary_unary(
            GET_MODEL_STATUS.path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GET_MODEL_STATUS.parse_response,
        )
        found: int = call(request, timeout=30).model_version_status[0].state
        return found


def failure(server: ModelServer) -> str:
    with pytest.raises(StartError) as caught, server:
        pass
    return str(caught.value)


def test_a_socket_beside_the_port(tmp_path: Path) -> None:
    path = tmp_path / "m.sock"
    with new_server(tmp_path, GrpcOptions(socket_path=path)) as server:
        assert state(f"unix:{path}") == state(str(server.grpc_address)) == 30
    assert not path.exists()


def test_a_socket_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # relative paths are understood
    grpc = GrpcOptions(port=None, socket_path=Path("m.sock"))
    with new_server(tmp_path, grpc) as server:
        assert server.grpc_address is None
        assert state(f"unix:{tmp_path}/m.sock") == 30


def test_a_socket_that_a_killed_server_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "m.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with new_server(tmp_path, GrpcOptions(port=None, socket_path=path)):
        assert state(f"unix:{path}") == 30


def test_a_socket_that_another_server_listens_on(tmp_path: Path) -> None:
    path = tmp_path / "m.sock"
    grpc = GrpcOptions(port=None, socket_path=path)
    loader = FakeLoader()
    with new_server(tmp_path, grpc):
        message = failure(new_server(tmp_path, grpc, loader=loader))
        assert state(f"unix:{path}") == 30
    assert message == (
        f"cannot listen on {path} (--grpc_socket_path): another server listens there"
    )
    assert not loader.attempts  # found out before models were loaded


@contextmanager
def file(path: Path) -> Iterator[None]:
    path.write_text("precious")
    yield
    assert path.read_text() == "precious"


def test_paths_that_cannot_be_sockets(tmp_path: Path) -> None:
    def said(path: Path) -> str:
        return failure(new_server(tmp_path, GrpcOptions(port=None, socket_path=path)))

    with file(tmp_path / "file"):
        assert said(tmp_path / "file").endswith("there is a file of this name that is no socket")
    assert said(tmp_path / "none" / "m.sock").endswith("its folder does not exist")
    assert said(tmp_path / ("m" * 100)).endswith("the path is longer than 103 bytes")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
@pytest.mark.parametrize("host", ["::1", "::"])
def test_ipv6(tmp_path: Path, host: str) -> None:
    with new_server(tmp_path, GrpcOptions(), RestOptions(), host) as server:
        assert str(server.grpc_address).startswith("[::1]:")
        assert state(str(server.grpc_address)) == 30
        assert str(server.rest_address).startswith("[::1]:")
        assert server.rest_port
        socket.create_connection(("::1", server.rest_port), timeout=30).close()


@pytest.mark.parametrize("host", ["203.0.113.1", "no-such-host.invalid"])
def test_an_address_of_another_machine(tmp_path: Path, host: str) -> None:
    message = failure(new_server(tmp_path, GrpcOptions(port=12345), host=host))
    assert message.startswith(f"cannot listen on {host}:12345 (--port): ")


def test_a_taken_port_is_found_out_before_models_are_loaded(tmp_path: Path) -> None:
    loader = FakeLoader()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = failure(new_server(tmp_path, GrpcOptions(port=port), loader=loader))
    assert message.startswith(f"cannot listen on 127.0.0.1:{port} (--port): ")
    assert not loader.attempts


def test_channel_arguments_reach_grpc(tmp_path: Path) -> None:
    """A limit on messages is an argument whose effect can be seen."""
    options = GrpcOptions(channel_arguments={"grpc.max_receive_message_length": 10})
    with (
        new_server(tmp_path, options) as server,
        grpc.insecure_channel(str(server.grpc_address)) as channel,
    ):
        call: Any = channel.unary_unary(GET_MODEL_STATUS.path)
        with pytest.raises(grpc.RpcError, match="larger than max"):
            call(b"x" * 11, timeout=30)
