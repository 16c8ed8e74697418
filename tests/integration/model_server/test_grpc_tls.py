"""TLS and mutual TLS, with gRPC's own client."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import trustme

from rockstar_serving.model_server.grpc_server import read_ssl_config
from rockstar_serving.model_server.options import GrpcOptions
from rockstar_serving.model_server.server import ModelServer
from tests.certificates import AUTHORITY, chain_of, issued, key_of, write_ssl_config
from tests.grpc_calls import failure, stub
from tests.integration.model_server.conftest import fake_server
from tfs_api.services import GET_MODEL_STATUS

CA = AUTHORITY().cert_pem.bytes()


@contextmanager
def new_server(folder: Path, **fields: str | bool) -> Iterator[ModelServer]:
    server = issued("localhost")
    config = write_ssl_config(
        folder / "ssl.config", server_key=key_of(server), server_cert=chain_of(server), **fields
    )
    options = GrpcOptions(tls=read_ssl_config(config), socket_path=folder / "m.sock")
    with fake_server(folder, grpc=options) as running:
        yield running


def ask(
    address: str, credentials: grpc.ChannelCredentials | None, *options: Any, timeout: float = 30
) -> int:
    """State of the only version."""
    request = GET_MODEL_STATUS.request(model_spec={"name": "m"})
    channel: Any = (
        grpc.secure_channel(address, credentials, options)
        if credentials
        else grpc.insecure_channel(address, options)
    )
    with channel:
        found = stub(channel, GET_MODEL_STATUS)(request, timeout=timeout)
        state: int = found.model_version_status[0].state
        return state


def client(certificate: trustme.LeafCert) -> grpc.ChannelCredentials:
    """Credentials of a client with a certificate."""
    return grpc.ssl_channel_credentials(
        CA, key_of(certificate).encode(), chain_of(certificate).encode()
    )


TRUSTING = grpc.ssl_channel_credentials(CA)


def test_tls(tmp_path: Path) -> None:
    with new_server(tmp_path) as server:
        assert ask(f"localhost:{server.grpc_port}", TRUSTING) == 30
        name = ("grpc.ssl_target_name_override", "localhost")
        assert ask(f"unix:{tmp_path}/m.sock", TRUSTING, name) == 30


def test_clients_without_a_valid_certificate_are_rejected(tmp_path: Path) -> None:
    strangers = grpc.ssl_channel_credentials(trustme.CA().cert_pem.bytes())
    with new_server(tmp_path) as server:
        address = f"localhost:{server.grpc_port}"
        for credentials in (None, strangers):
            assert failure(ask, address, credentials)[0] == "UNAVAILABLE"
        failure(ask, f"unix:{tmp_path}/m.sock", None)


def test_mutual_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    custom_ca = authority.cert_pem.bytes().decode()
    with new_server(tmp_path, custom_ca=custom_ca, client_verify=True) as server:
        address = f"localhost:{server.grpc_port}"
        assert ask(address, client(authority.issue_cert("client.example"))) == 30
        for refused in (TRUSTING, client(issued("client.example"))):
            assert failure(ask, address, refused)[0] == "UNAVAILABLE"
