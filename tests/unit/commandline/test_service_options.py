"""Keys, TLS and CA certificates of the commands that call a service."""

import json
import ssl

import grpc
import pytest

from tests.certificates import AUTHORITY, chain_of, issued, key_of
from tests.command_line import invoke
from tests.images import png, stroke
from tests.unit.clients import grpc_server
from tests.unit.clients.http_server import Server, answer, problem, running

MODELS = answer("200 OK", b'{"models": []}', Content_Type="application/json")


def predictions(*labels: str) -> bytes:
    found = [{"label": label, "score": 1.0, "top": []} for label in labels]
    body = json.dumps({"version": 2, "predictions": found}).encode()
    return answer("200 OK", body, Content_Type="application/json")


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "seven.png"
    path.write_bytes(png(stroke()))
    return path


@pytest.fixture
def authority(tmp_path):
    """The certificate of the CA."""
    AUTHORITY().cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path / "ca.pem"


def test_a_missing_key_error_names_the_option(image):
    first = [problem("401 Unauthorized", "a key is needed.")]
    with running(Server(first)) as server:
        result = invoke("predict", "--url", server.url, image)
    assert result.exit_code == 1
    assert result.stderr == "Error: a key is needed: give --api-key, or ROCKSTAR_API_KEY\n"


BENCH = ("--model", "toy", "--requests", 3, "--connections", 1, "--duration", 600, "--json")


def test_https_with_a_ca_certificate(image, authority):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issued("127.0.0.1").configure_cert(context)
    with running(Server([MODELS, predictions("seven")]), context) as server:
        to = ("--url", server.url, "--ca", authority)
        result = invoke("predict", *to, "--model", "toy", image)
        assert result.exit_code == 0, result.output
        assert "seven" in result.stdout
        measured = invoke("bench", *to, *BENCH, image)
        assert json.loads(measured.stdout)["requests"] == 3, measured.output
        untrusted = invoke("predict", "--url", server.url, "--model", "toy", image)
    assert untrusted.exit_code == 3
    assert "name its certificate with --ca" in untrusted.stderr


def test_check_with_a_ca_certificate(authority):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issued("127.0.0.1").configure_cert(context)
    alive = answer("200 OK", b'{"status": "alive"}', Connection="close")
    ready = answer("200 OK", b'{"models": {"toy": {"ready": true}}}', Connection="close")
    with running(Server([alive, ready, MODELS]), context) as server:
        result = invoke("check", "--url", server.url, "--ca", authority)
        untrusted = invoke("check", "--url", server.url)
    assert result.exit_code == 0, result.output
    assert "ready: toy" in result.stdout
    assert untrusted.exit_code == 1
    assert "give its CA certificate with --ca" in untrusted.stdout


def test_grpc_with_a_ca_certificate_and_a_key(image, authority):
    certificate = issued("127.0.0.1")
    pair = key_of(certificate).encode(), chain_of(certificate).encode()
    server = grpc_server.Server()
    with grpc_server.running(server, grpc.ssl_server_credentials([pair])) as address:
        to = ("--grpc", address, "--ca", authority, "--api-key", "s3cret")
        result = invoke("predict", *to, "--model", "toy", image)
        assert result.exit_code == 0, result.output
        assert "one" in result.stdout
        measured = invoke("bench", *to, *BENCH, image)
        assert json.loads(measured.stdout)["requests"] == 3, measured.output
    assert {each["authorization"] for each in server.metadata} == {"Bearer s3cret"}


def test_a_ca_certificate_is_rejected_with_plain_http(image, authority):
    result = invoke("predict", "--url", "http://127.0.0.1:1", "--ca", authority, image)
    assert result.exit_code == 2
    assert "--ca goes with https://, not with http://127.0.0.1:1" in result.stderr
