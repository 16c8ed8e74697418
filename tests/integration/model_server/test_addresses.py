"""Addresses that a server listens on, and errors about them."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import pytest

from rockstar_serving.model_server.models.manager import StartError
from rockstar_serving.model_server.options import GrpcOptions, RestOptions
from rockstar_serving.model_server.server import ModelServer
from tests.fake_engine import FakeLoader
from tests.grpc_calls import stub
from tests.integration.model_server.conftest import fake_server
from tfs_api.services import GET_MODEL_STATUS


def new_channel(address: str) -> grpc.Channel:
    """A channel with its own connection."""
    return grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])


def state_over(channel: grpc.Channel, model: str = "m") -> int:
    """State of the only version."""
    request = GET_MODEL_STATUS.request(model_spec={"name": model})
    found = stub(channel, GET_MODEL_STATUS)(request, timeout=30)
    state: int = found.model_version_status[0].state
    return state


def state(address: str, model: str = "m") -> int:
    """Status and JSON of a GET over a new connection."""
    with new_channel(address) as channel:
        return state_over(channel, model)


def failure(server: ModelServer) -> str:
    with pytest.raises(StartError) as caught, server:
        pass
    return str(caught.value)


def test_a_socket_beside_the_port(tmp_path: Path) -> None:
    path = tmp_path / "m.sock"
    with fake_server(tmp_path, grpc=GrpcOptions(socket_path=path)) as server:
        assert state(f"unix:{path}") == state(str(server.grpc_address)) == 30
    assert not path.exists()


def test_a_socket_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # relative paths work
    with fake_server(tmp_path, grpc=GrpcOptions(port=None, socket_path=Path("m.sock"))) as server:
        assert server.grpc_address is None
        assert state(f"unix:{tmp_path}/m.sock") == 30


def test_a_socket_whose_path_a_url_would_quote(tmp_path: Path) -> None:
    folder = tmp_path / "a %41#?é"
    folder.mkdir()
    with fake_server(tmp_path, grpc=GrpcOptions(port=None, socket_path=folder / "m.sock")):
        assert state(f"unix:{quote(str(folder))}/m.sock") == 30


def test_a_socket_that_a_killed_server_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "m.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with fake_server(tmp_path, grpc=GrpcOptions(port=None, socket_path=path)):
        assert state(f"unix:{path}") == 30


def test_a_socket_is_taken_over_from_another_server(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As in gRPC; the earlier server keeps its connections and does not remove the path."""
    path = tmp_path / "m.sock"
    options = GrpcOptions(port=None, socket_path=path)
    earlier = fake_server(tmp_path, grpc=options)
    earlier.start()
    with new_channel(f"unix:{path}") as channel:
        assert state_over(channel) == 30
        with fake_server(tmp_path, grpc=options, model="n"):
            assert f"another server listens on {path} (--grpc_socket_path)" in caplog.text
            assert state(f"unix:{path}", "n") == state_over(channel) == 30
            earlier.stop(grace=0)
            assert state(f"unix:{path}", "n") == 30
    assert [file.name for file in tmp_path.iterdir()] == ["m"]


@contextmanager
def file(path: Path) -> Iterator[None]:
    path.write_text("precious")
    yield
    assert path.read_text() == "precious"


def test_paths_that_cannot_be_sockets(tmp_path: Path) -> None:
    def said(path: Path) -> str:
        return failure(fake_server(tmp_path, grpc=GrpcOptions(port=None, socket_path=path)))

    with file(tmp_path / "file"):
        assert said(tmp_path / "file").endswith("a file of this name exists and is not a socket")
    assert said(tmp_path / "none" / "m.sock").endswith("its folder does not exist")
    assert said(tmp_path / ("m" * 100)).endswith("the path is longer than 103 bytes")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
@pytest.mark.parametrize(
    ("host", "said"), [("::1", "[::1]:"), ("::", "[::1]:"), ("0.0.0.0", "127.0.0.1:")]
)
def test_ipv6(tmp_path: Path, host: str, said: str) -> None:
    """As in TensorFlow Serving, gRPC and REST also listen on IPv6 by default."""
    with fake_server(tmp_path, rest=RestOptions(), host=host) as server:
        assert str(server.grpc_address).startswith(said)
        assert state(f"[::1]:{server.grpc_port}") == 30
        assert str(server.rest_address).startswith(said)
        assert server.rest_port
        socket.create_connection(("::1", server.rest_port), timeout=30).close()


@pytest.mark.parametrize("host", ["203.0.113.1", "no-such-host.invalid"])
def test_an_address_of_another_machine(tmp_path: Path, host: str) -> None:
    message = failure(fake_server(tmp_path, grpc=GrpcOptions(port=12345), host=host))
    assert message.startswith(f"cannot listen on {host}:12345 (--port): ")


@pytest.mark.parametrize("flag", ["port", "rest_api_port"])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_in_use_is_found_before_models_are_loaded(
    tmp_path: Path, loader: FakeLoader, host: str, flag: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        server = fake_server(
            tmp_path,
            loader,
            GrpcOptions(port=port if flag == "port" else None),
            RestOptions(port=None if flag == "port" else port),
            host=host,
        )
        message = failure(server)
    assert message == f"cannot listen on {host}:{port} (--{flag}): Address already in use"
    assert not loader.attempts


def test_channel_arguments_reach_grpc(tmp_path: Path) -> None:
    """Channel arguments take effect, for example a limit on messages."""
    options = GrpcOptions(channel_arguments={"grpc.max_receive_message_length": 10})
    with (
        fake_server(tmp_path, grpc=options) as server,
        grpc.insecure_channel(str(server.grpc_address)) as channel,
    ):
        call: Any = channel.unary_unary(GET_MODEL_STATUS.path)
        with pytest.raises(grpc.RpcError, match="larger than max"):
            call(b"x" * 11, timeout=30)
