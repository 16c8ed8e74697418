"""REST: what is asked, what is answered."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client

from rockstar_serving.model_server.deadline import Deadline
from rockstar_serving.model_server.inference.core import Core
from rockstar_serving.model_server.models.config import All, ModelConfig
from rockstar_serving.model_server.models.manager import Manager
from rockstar_serving.model_server.options import LoadOptions, RestOptions
from rockstar_serving.model_server.rest_api.service import RECEIVED_KEY, RestService
from tests.fake_engine import FakeLoader, add_version


@pytest.fixture
def loader() -> FakeLoader:
    return FakeLoader()


@pytest.fixture
def core(tmp_path: Path, loader: FakeLoader) -> Iterator[Core]:
    for version in (1, 2):
        add_version(tmp_path / "m", version)
    add_version(tmp_path / "m", 3, ok=False)
    manager = Manager(
        [ModelConfig("m", tmp_path / "m", All(), {"stable": 1})],
        loader,
        LoadOptions(poll_seconds=0, settle_seconds=0, allow_labels_for_unavailable=True),
    )
    manager.start()
    yield Core(manager)
    manager.stop()


@pytest.fixture
def client(core: Core) -> Client:
    return Client(RestService(core))


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
    every = {
        "model_version_status": [
            {"version": "3", "state": "END", "status": broken},
            {"version": "2", "state": "AVAILABLE", "status": fine},
            {"version": "1", "state": "AVAILABLE", "status": fine},
        ]
    }
    assert client.get("/v1/models/m").json == every
    one = {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": fine}]}
    assert client.get("/v1/models/m/versions/1").json == one
    assert client.get("/v1/models/m/labels/stable").json == every


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
        "defaults": {},
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
            "/v1/models/m/labels/beta/metadata",
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
            {"instances": [[1], [2, 3]]},
            400,
            "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting "
            "tensor size: 1 but got: 2",
        ),
        # In this order, as TensorFlow Serving: JSON, model, signature, values.
        ("POST", "/v1/models/x:predict", [], 400, "JSON Value: [] Is not object"),
        (
            "POST",
            "/v1/models/x:predict",
            {"signature_name": "s"},
            404,
            "Servable not found for request: Latest(x)",
        ),
        (
            "POST",
            "/v1/models/m:predict",
            {"signature_name": "s"},
            400,
            'Serving signature name: "s" not found in signature def',
        ),
        (
            "POST",
            "/v1/models/m:predict",
            {"signature_name": "fail", "inputs": [1]},
            500,
            "internal error",
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


def test_answers_look_as_tensorflow_servings(client: Client) -> None:
    assert client.get("/v1/models/m/versions/1").text == (
        '{\n "model_version_status": [\n  {\n   "version": "1",\n   "state": "AVAILABLE",\n'
        '   "status": {\n    "error_code": "OK",\n    "error_message": ""\n   }\n  }\n ]\n}\n'
    )
    assert client.get("/v1/models").text == ('{\n    "error": "Missing model name in request."\n}')
    metadata = client.get("/v1/models/m/metadata").text
    assert metadata.startswith('{\n"model_spec":{\n "name": "m",\n "signature_name": "",\n')
    assert '\n,\n"metadata": {"signature_def": {\n "signature_def": {\n  "' in metadata
    assert metadata.endswith("}\n}\n}\n")


def test_head_is_answered_without_a_body(client: Client) -> None:
    response = client.head("/v1/models/m")
    assert (response.status_code, response.data) == (400, b"")
    assert int(response.headers["Content-Length"]) > 0


def test_names_in_urls_are_decoded(client: Client) -> None:
    assert client.get("/v1/models/%6D").status_code == 200
    response = client.post("/v1/models/%C3%A9%2F:predict", data=b"{}")
    assert response.json == {"error": "Servable not found for request: Latest(é/)"}


def test_gzip(client: Client) -> None:
    body = gzip.compress(b'{"instances": [[1, 2]]}')
    response = client.post("/v1/models/m:predict", data=body, headers={"Content-Encoding": "gzip"})
    assert response.json == {"predictions": [[2, 4]]}
    assert "Content-Encoding" not in response.headers


CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}


@pytest.mark.parametrize(("cors", "expected"), [(False, {}), (True, CORS)])
@pytest.mark.parametrize(
    ("method", "path", "origin", "status"),
    [
        ("OPTIONS", "/v1/models/m:predict", "https://page.example", 200),
        ("OPTIONS", "/v1/models/m:predict", "null", 400),
        ("OPTIONS", "/v1/models/m:predict", "", 400),
        ("GET", "/v1/models/m", "https://page.example", 200),
        ("GET", "/v1/models/x", "", 404),
    ],
)
def test_pages_of_other_origins(
    core: Core, cors: bool, expected: Any, method: str, path: str, origin: str, status: int
) -> None:
    client = Client(RestService(core, RestOptions(cors=cors)))
    response = client.open(path, method=method, headers={"Origin": origin} if origin else {})
    assert response.status_code == status
    found = {name: value for name, value in response.headers if name.startswith("Access-Control")}
    assert found == expected
    if status == 200:
        assert bool(response.data) == (method == "GET")
    else:
        assert "error" in (response.json or {})


def test_a_request_that_waited_too_long_is_not_begun(core: Core, loader: FakeLoader) -> None:
    client = Client(RestService(core, RestOptions(timeout_seconds=30.0)))
    long_ago = {RECEIVED_KEY: Deadline.after(-31).moment}
    response = client.post(
        "/v1/models/m:predict", json={"inputs": [[1, 2]]}, environ_overrides=long_ago
    )
    assert response.status_code == 504
    assert response.json == {"error": "the deadline passed before the model was run"}
    assert not loader.engines[2].entered.is_set()


def test_a_body_that_is_too_large_when_inflated(core: Core) -> None:
    client = Client(RestService(core, RestOptions(max_body_bytes=10)))
    response = client.post(
        "/v1/models/m:predict",
        data=gzip.compress(b"[" * 11),
        headers={"Content-Encoding": "gzip"},
    )
    assert response.status_code == 413
    assert "longer than 10 bytes" in (response.json or {})["error"]
