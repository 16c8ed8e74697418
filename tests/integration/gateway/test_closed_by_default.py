"""Who may call a gateway, and the model server behind it."""

import hashlib
import socket
from http.client import HTTPResponse

import grpc
import pytest

from rockstar_serving.gateway.app import create_app
from rockstar_serving.gateway.settings import GatewayConfig
from tests.certificates import AUTHORITY, chain_of, issued, key_of
from tests.integration.gateway.conftest import IMAGE, ToyServer, running


def entry(name: str, more: str = "") -> str:
    """The entry of a key that is its owner's name."""
    return f'[keys.{name}]\nsha256 = "{hashlib.sha256(name.encode()).hexdigest()}"\n{more}\n'


ALICE, BOB = entry("alice"), entry("bob", 'models = ["other"]')


@pytest.fixture
def keyed(start_gateway, tmp_path):
    """A gateway with two workers, and the file of its keys."""
    path = tmp_path / "keys.toml"
    path.write_text(ALICE + BOB)
    return start_gateway("--workers=2", f"--api-keys-file={path}"), path


def status_of(gateway, method: str, target: str, *headers: str) -> int:
    """The status of a request whose target is sent as it is."""
    head = [
        f"{method} {target} HTTP/1.1",
        *("Host: gateway", "Connection: close", "Content-Type: image/png"),
        *(f"Content-Length: {len(IMAGE)}", *headers, "", ""),
    ]
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as client:
        client.sendall("\r\n".join(head).encode() + IMAGE)
        with HTTPResponse(client, method=method) as response:
            response.begin()
            return response.status


# Ways around a check of the path that have worked elsewhere: the server, a proxy or a framework
# reads it in another way than the check does.
TARGETS = [
    "/predict/toy",
    "//predict/toy",
    "/predict//toy",
    "/./predict/toy",
    "/livez/../predict/toy",
    "/livez/%2e%2e/predict/toy",
    "/livez/..;/predict/toy",
    "/livez;/../predict/toy",
    "/predict/toy;",
    "/predict/toy/",
    "/predict/toy?/livez",
    "/predict/toy%3f/livez",
    "/predict/toy%00",
    "/predict/toy%0a",
    "/predict/toy%20",
    "/%70redict/%74oy",
    "/predict/other%2f..%2ftoy",
    "/livez%c0%af..%c0%afpredict/toy",
    "/predict/\uff54\uff4f\uff59",
    "/predict\\toy",
    "/PREDICT/toy",
    "http://gateway/predict/toy",
    "http://gateway/livez/../predict/toy",
    "/v1/models/toy:predict",
    "/V1/Models/toy:predict",
    "/v1/models/toy%3apredict",
    "/v1/models/toy/VERSIONS/1:predict",
    "/v1/models/other/../toy:predict",
    "/v1//models/toy:predict",
    "/v2/models/toy/infer",
    "/v2/models/toy/versions/1/infer",
    "/static/../predict/toy",
    "/explain/toy",
]
# Likewise headers.
HEADERS = [
    ["X-HTTP-Method-Override: POST"],
    ["X-Original-URL: /livez", "X-Rewrite-URL: /livez"],
    ["X-Forwarded-Prefix: /livez"],
    ["X-Forwarded-Prefix: /predict"],
    ["SCRIPT_NAME: /livez", "PATH_INFO: /livez"],
    ["X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "Forwarded: for=127.0.0.1"],
    ["X_API_Key: alice"],
    ["Authorization: Bearer alice", "Authorization: Bearer nobody"],
    ["Authorization: Bearer nobody", "Authorization: Bearer alice"],
    ["X-API-Key: alice", "X-API-Key: nobody"],
    ["X-API-Key: nobody", "Connection: X-API-Key"],
    ["Origin: https://example.org", "Access-Control-Request-Method: POST"],
]
METHODS = ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "post"]


def test_no_form_of_a_request_gets_around_the_keys(keyed, toy_server):
    gateway, _ = keyed

    def statuses(*key: str) -> set[int]:
        found = {status_of(gateway, "POST", target, *key) for target in TARGETS}
        found |= {status_of(gateway, method, "/predict/toy", *key) for method in METHODS}
        return found

    rejected = statuses()
    for headers in HEADERS:
        rejected |= {
            status_of(gateway, method, "/predict/toy", *headers) for method in ("POST", "OPTIONS")
        }
        rejected.add(status_of(gateway, "POST", "/livez/predict/toy", *headers))
    # 400 is the server's own, for what is not HTTP.
    assert rejected <= {400, 401}
    assert not any(200 <= status < 300 for status in statuses("X-API-Key: bob"))
    assert toy_server.predictions == 0
    assert status_of(gateway, "POST", "/predict/toy", "X-API-Key: alice") == 200


def test_prefixes_are_taken_from_configured_proxies_only(start_gateway):
    gateway = start_gateway("--trusted-proxies=192.0.2.1")
    for header in ("X-Forwarded-Prefix", "SCRIPT_NAME", "X-Script-Name"):
        assert status_of(gateway, "GET", "/ml/livez", f"{header}: /ml") == 404
        assert status_of(gateway, "GET", "/livez", f"{header}: /ml") == 200


@pytest.fixture
def certificates(tmp_path):
    """Files with the certificates of an authority and of a gateway, and the gateway's key."""
    own = issued("gateway")
    files = {"ca": AUTHORITY().cert_pem.bytes().decode(), "certificate": chain_of(own)}
    for name, text in (files | {"key": key_of(own)}).items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def secured():
    """A model server that lets in only clients with a certificate of the authority."""
    pair = issued("127.0.0.1")
    server = ToyServer(
        grpc.ssl_server_credentials(
            [(key_of(pair).encode(), chain_of(pair).encode())],
            AUTHORITY().cert_pem.bytes(),
            require_client_auth=True,
        )
    )
    yield server
    server.stop()


def test_a_gateway_and_its_model_server_verify_each_other(host, secured, certificates, tmp_path):
    files = [f"--upstream-{each}={certificates / each}" for each in ("ca", "certificate", "key")]
    options = ("--model=toy", "--workers=1", *files)
    with running(secured.port, tmp_path / "log", *options, server=host) as gateway:
        assert gateway.predict().json()["predictions"][0]["label"] == "zero"


@pytest.mark.parametrize("files", [(), ("ca",)])
def test_a_gateway_without_a_certificate_is_rejected(secured, certificates, files):
    named = {f"upstream_{each}": str(certificates / each) for each in files}
    config = GatewayConfig(f"127.0.0.1:{secured.port}", models=("toy",), **named)
    assert create_app(config).test_client().get("/v1/models/toy").status_code == 503
    assert secured.predictions == 0
