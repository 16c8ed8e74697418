"""REST over a real socket."""

import socket
from typing import Any

import numpy as np
import pytest

from serving.model_server.rest_server import MAX_BODY_BYTES
from serving.model_server.server import ModelServer
from tests.integration.model_server.conftest import http
from tests.model_fixtures import SIDE, document, probabilities

IMAGES = np.random.default_rng(3).random((2, SIDE, SIDE, 1), np.float32)


@pytest.mark.parametrize(("form", "key"), [("instances", "predictions"), ("inputs", "outputs")])
def test_predict(server: ModelServer, form: str, key: str) -> None:
    status, answer = http(server.rest_address, "/v1/models/toy:predict", {form: IMAGES.tolist()})
    assert status == 200
    np.testing.assert_allclose(answer[key], probabilities(IMAGES), rtol=1e-5)


def test_contract(server: ModelServer) -> None:
    body = {"signature_name": "contract", "instances": [0]}
    assert http(server.rest_address, "/v1/models/toy/labels/stable:predict", body) == (
        200,
        {"predictions": [document(1)]},
    )


def test_status_and_metadata(server: ModelServer) -> None:
    status, answer = http(server.rest_address, "/v1/models/toy")
    assert status == 200
    assert [each["state"] for each in answer["model_version_status"]] == [
        *("END", "AVAILABLE", "AVAILABLE")
    ]
    status, answer = http(server.rest_address, "/v1/models/toy/versions/1/metadata")
    assert (status, answer["model_spec"]["version"]) == (200, "1")


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/v1/models", None, 400, "Missing model name in request."),
        ("/v1/models/toy:predict", {"instances": [1]}, 400, "input 'image': expected float32"),
        ("/v1/models/m:predict", {"instances": [1]}, 404, "Servable not found for request"),
    ],
)
def test_errors(server: ModelServer, path: str, body: Any, status: int, error: str) -> None:
    got, answer = http(server.rest_address, path, body)
    assert got == status
    assert answer["error"].startswith(error)


def test_a_body_that_is_too_large_is_refused_unread(server: ModelServer) -> None:
    head = (
        "POST /v1/models/toy:predict HTTP/1.1\r\nHost: x\r\n"
        f"Content-Length: {MAX_BODY_BYTES + 1}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.rest_port or 0), timeout=30) as connection:
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
