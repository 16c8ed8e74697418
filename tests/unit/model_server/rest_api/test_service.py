"""REST goldens: what is asked, what is answered."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client

from serving.model_server.inference.core import Core
from serving.model_server.models.config import All, ModelConfig
from serving.model_server.models.manager import Manager
from serving.model_server.options import LoadOptions
from serving.model_server.rest_api.service import RestService
from tests.fake_engine import FakeLoader, add_version


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    for version in (1, 2):
        add_version(tmp_path / "m", version)
    add_version(tmp_path / "m", 3, ok=False)
    manager = Manager(
        [ModelConfig("m", tmp_path / "m", All(), {"stable": 1})],
        FakeLoader(),
        LoadOptions(poll_seconds=0, settle_seconds=0, allow_labels_for_unavailable=True),
    )
    manager.start()
    yield Client(RestService(Core(manager)))
    manager.stop()


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        ("m", {"instances": [[1, 2]]}, {"predictions": [[2, 4]]}),
        ("m/versions/1", {"instances": [{"x": [1, 2]}]}, {"predictions": [[2, 4]]}),
        ("m/labels/stable", {"inputs": [[1, 2]]}, {"outputs": [[2, 4]]}),
        (
            "m",
            {"signature_name": "sum", "instances": [{"a": 1, "b": 2}]},
            {"predictions": [{"sum": 3, "difference": -1}]},
        ),
        (
            "m",
            {"signature_name": "sum", "inputs": {"a": [1], "b": [2]}},
            {"outputs": {"sum": [3], "difference": [-1]}},
        ),
        (
            "m",
            {"signature_name": "echo", "instances": [{"b64": "aGk="}, "ho"]},
            {
                "predictions": [
                    {"text": "hi", "text_bytes": {"b64": "aGk="}},
                    {"text": "ho", "text_bytes": {"b64": "aG8="}},
                ]
            },
        ),
    ],
)
def test_predict(client: Client, path: str, body: Any, answer: Any) -> None:
    response = client.post(f"/v1/models/{path}:predict", json=body)
    assert (response.status_code, response.json) == (200, answer)
    assert response.content_type == "application/json"


def test_status(client: Client, tmp_path: Path) -> None:
    fine = {"error_code": "OK", "error_message": ""}
    broken = {
        "error_code": "FAILED_PRECONDITION",
        "error_message": f"{tmp_path}/m/3/ok is missing",
    }
    assert client.get("/v1/models/m").json == {
        "model_version_status": [
            {"version": "3", "state": "END", "status": broken},
            {"version": "2", "state": "AVAILABLE", "status": fine},
            {"version": "1", "state": "AVAILABLE", "status": fine},
        ]
    }
    one = {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": fine}]}
    assert client.get("/v1/models/m/versions/1").json == one
    assert client.get("/v1/models/m/labels/stable").json == one


def test_metadata(client: Client) -> None:
    answer: Any = client.get("/v1/models/m/labels/stable/metadata").json
    assert answer["model_spec"] == {"name": "m", "signature_name": "", "version": "1"}
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {"serving_default", "sum", "echo", "fail"}
    shape = {
        "dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}],
        "unknown_rank": False,
    }
    info = {"name": "tensor:0", "dtype": "DT_FLOAT", "tensor_shape": shape}
    assert signatures["serving_default"] == {
        "inputs": {"x": info},
        "outputs": {"y": info},
        "method_name": "tensorflow/serving/predict",
    }


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("GET", "/v1/models", None, 400, "Missing model name in request."),
        ("GET", "/v1/nonsense", None, 400, "Malformed request: GET /v1/nonsense"),
        ("POST", "/v1/models/m", None, 400, "Malformed request: POST /v1/models/m"),
        ("GET", "/v1/models/m:predict", None, 400, "Malformed request: GET /v1/models/m:predict"),
        ("GET", "/", None, 404, "Not found: GET /"),
        ("GET", "/v1/models/x", None, 404, "Could not find any versions of model x"),
        ("GET", "/v1/models/m/versions/7", None, 404, "Could not find version 7 of model m"),
        (
            "GET",
            "/v1/models/m/labels/beta",
            None,
            400,
            "Unrecognized servable version label: beta",
        ),
        (
            "GET",
            f"/v1/models/m/versions/{2**63}",
            None,
            400,
            f"Failed to convert version: {2**63} to numeric.",
        ),
        (
            "POST",
            "/v1/models/m/versions/7:predict",
            {"inputs": []},
            404,
            "Servable not found for request: Specific(m, 7)",
        ),
        (
            "POST",
            "/v1/models/x:predict",
            {"inputs": []},
            404,
            "Servable not found for request: Latest(x)",
        ),
        (
            "POST",
            "/v1/models/m:predict",
            {"signature_name": "s", "inputs": []},
            400,
            'Serving signature name: "s" not found in signature def',
        ),
        ("POST", "/v1/models/m:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        (
            "POST",
            "/v1/models/m:predict",
            {"instances": [[1, 2, 3]]},
            400,
            "input 'x': expected float32 of shape [?, 2], got float32 of shape [1, 3]",
        ),
        (
            "POST",
            "/v1/models/m:predict",
            {"signature_name": "fail", "inputs": [1]},
            500,
            "internal error",
        ),
        (
            "POST",
            "/v1/models/m:classify",
            {"examples": []},
            501,
            "classify is not implemented by this server",
        ),
    ],
)
def test_errors(client: Client, method: str, path: str, body: Any, status: int, error: str) -> None:
    data = None if body is None else json.dumps(body)
    response = client.open(path, method=method, data=data)
    assert (response.status_code, response.json) == (status, {"error": error})


def test_an_internal_error_is_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    client.post("/v1/models/m:predict", json={"signature_name": "fail", "inputs": [1]})
    assert "secret of the engine room" in caplog.text
