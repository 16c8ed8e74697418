"""TLS of the gRPC server: SSL config files."""

from pathlib import Path

import pytest

from rockstar_serving.model_server.grpc_server import read_ssl_config
from rockstar_serving.model_server.models.config import ConfigError
from tests.certificates import AUTHORITY, chain_of, issued, key_of, write_ssl_config

SERVER = issued("localhost")
KEY, CERTIFICATE = key_of(SERVER), chain_of(SERVER)
CA = AUTHORITY().cert_pem.bytes().decode()


def test_server_certificates(tmp_path: Path) -> None:
    tls = read_ssl_config(
        write_ssl_config(tmp_path / "ssl", server_key=KEY, server_cert=CERTIFICATE)
    )
    assert (tls.key, tls.certificate) == (KEY.encode(), CERTIFICATE.encode())
    assert tls.authority is None


def test_clients_are_verified_only_if_configured(tmp_path: Path) -> None:
    fields = {"server_key": KEY, "server_cert": CERTIFICATE, "custom_ca": CA}
    assert read_ssl_config(write_ssl_config(tmp_path / "a", **fields)).authority is None
    verifying = write_ssl_config(tmp_path / "b", **fields, client_verify=True)
    assert read_ssl_config(verifying).authority == CA.encode()


def test_the_key_is_not_shown(tmp_path: Path) -> None:
    path = write_ssl_config(tmp_path / "ssl", server_key=KEY, server_cert=CERTIFICATE)
    assert "PRIVATE" not in repr(read_ssl_config(path))


OTHER_KEY = key_of(issued("example.org"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "server_key is missing"),
        ({"server_key": KEY}, "server_cert is missing"),
        (
            {"server_key": "/etc/tls/key.pem", "server_cert": CERTIFICATE},
            r"server_key: expected the text of a PEM file, with a line "
            r"-----BEGIN PRIVATE KEY-----, and \n where lines end; not a path",
        ),
        (
            {"server_key": KEY, "server_cert": KEY},
            "server_cert: expected the text of a PEM file, with a line -----BEGIN CERTIFICATE",
        ),
        (
            {"server_key": OTHER_KEY, "server_cert": CERTIFICATE},
            "server_key and server_cert are damaged, encrypted, or no pair (KEY_VALUES_MISMATCH)",
        ),
        (
            {"server_key": KEY, "server_cert": CERTIFICATE.replace("M", "?", 20)},
            "server_key and server_cert are damaged, encrypted, or no pair (",
        ),
        (
            {"server_key": KEY, "server_cert": CERTIFICATE, "custom_ca": CA.replace("M", "?", 20)},
            "custom_ca is damaged (",
        ),
        (
            {"server_key": KEY, "server_cert": CERTIFICATE, "client_verify": True},
            "client_verify needs custom_ca, whose clients are let in",
        ),
    ],
    # Each process creates new keys and certificates.
    ids=lambda value: " ".join(value) if isinstance(value, dict) else value[:40],
)
def test_what_cannot_be_used(tmp_path: Path, fields: dict[str, str | bool], message: str) -> None:
    path = write_ssl_config(tmp_path / "ssl", **fields)
    with pytest.raises(ConfigError) as caught:
        read_ssl_config(path)
    assert str(caught.value).startswith(f"SSL config file {path}: {message}")
    assert not [line for line in KEY.splitlines()[1:-1] if line in str(caught.value)]


def test_a_file_in_another_format_is_not_quoted(tmp_path: Path) -> None:
    """A key in place of its path must not appear in the log."""
    path = tmp_path / "ssl"
    path.write_text(f"server_key: {KEY}")
    with pytest.raises(ConfigError) as caught:
        read_ssl_config(path)
    assert str(caught.value).startswith(
        f"SSL config file {path}: Error parsing text-format tensorflow.serving.SSLConfig: line 1 ("
    )
    assert not [line for line in KEY.splitlines() if line in str(caught.value)]
