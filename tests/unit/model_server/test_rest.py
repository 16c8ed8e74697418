"""Requests and responses of the REST API, besides those of TensorFlow Serving in testdata/rest."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rockstar_serving.model_server.core import Core
from rockstar_serving.model_server.deadline import Deadline
from rockstar_serving.model_server.models.config import All, ModelConfig
from rockstar_serving.model_server.options import RestOptions
from rockstar_serving.model_server.rest import RestApi
from tests.examples_engine import load_examples_engine
from tests.fake_engine import FakeLoader, add_version, running
from tests.rest_client import RestClient

NO_MODEL = "Servable not found for request:"


@pytest.fixture
def loader() -> FakeLoader:
    return FakeLoader()


@pytest.fixture
def core(tmp_path: Path, loader: FakeLoader) -> Iterator[Core]:
    for version in (1, 2):
        add_version(tmp_path / "m", version)
    add_version(tmp_path / "m", 3, ok=False)
    with running(ModelConfig("m", tmp_path / "m", All(), {"stable": 1}), load=loader) as manager:
        yield Core(manager)


@pytest.fixture
def client(core: Core) -> RestClient:
    return RestClient(RestApi(core))


def test_an_internal_error_is_logged(client: RestClient, caplog: pytest.LogCaptureFixture) -> None:
    body = {"signature_name": "fail", "inputs": [1]}
    response = client.post("/v1/models/m:predict", json=body)
    assert (response.status_code, response.json) == (500, {"error": "internal error"})
    assert "secret of the engine room" in caplog.text


def test_answers_look_as_tensorflow_servings(client: RestClient) -> None:
    assert client.get("/v1/models/m/versions/1").text == (
        '{\n "model_version_status": [\n  {\n   "version": "1",\n   "state": "AVAILABLE",\n'
        '   "status": {\n    "error_code": "OK",\n    "error_message": ""\n   }\n  }\n ]\n}\n'
    )
    assert client.get("/v1/models").text == ('{\n    "error": "Missing model name in request."\n}')
    metadata = client.get("/v1/models/m/metadata").text
    assert metadata.startswith('{\n"model_spec":{\n "name": "m",\n "signature_name": "",\n')
    assert '\n,\n"metadata": {"signature_def": {\n "signature_def": {\n  "' in metadata
    assert metadata.endswith("}\n}\n}\n")


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
def test_pages_of_other_origins_get_no_headers_without_the_flag(
    client, method, path, origin, status
):
    response = client.open(path, method=method, origin=origin)
    assert response.status_code == status
    assert "Access-Control-Allow-Origin" not in response.headers
    if status == 200:
        assert bool(response.data) == (method == "GET")
    else:
        assert "error" in response.json


def test_a_request_that_waited_too_long_is_not_begun(core: Core, loader: FakeLoader) -> None:
    client = RestClient(RestApi(core, RestOptions(timeout_seconds=30.0)))
    long_ago = Deadline.after(-31).moment
    response = client.post("/v1/models/m:predict", json={"inputs": [[1, 2]]}, received_at=long_ago)
    assert response.status_code == 504
    assert response.json == {"error": "the deadline passed before the model was run"}
    assert not loader.engines[2].entered.is_set()


LIMIT = 1000
BODY = b'{"instances": [[1, 2]]}'


@pytest.fixture
def limited(core: Core) -> RestClient:
    return RestClient(RestApi(core, RestOptions(max_body_bytes=LIMIT)))


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (BODY, "identity"),
        (gzip.compress(BODY, mtime=0), "gzip"),
        (gzip.compress(BODY, mtime=0), "x-gzip"),
        (gzip.compress(BODY.ljust(LIMIT), mtime=0), "gzip"),
    ],
)
def test_encodings_of_bodies(limited: RestClient, body: bytes, encoding: str) -> None:
    response = limited.post("/v1/models/m:predict", data=body, encoding=encoding)
    assert response.json == {"predictions": [[2, 4]]}


def test_a_bomb_is_not_inflated(limited: RestClient) -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    response = limited.post("/v1/models/m:predict", data=bomb, encoding="gzip")
    assert response.status_code == 413
    error = response.json["error"]
    assert "longer than 1000 bytes" in error
    assert "--rest_api_max_body_bytes" in error


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (BODY, "says gzip, but the body is not"),
        (b"", "ends too early"),
        (gzip.compress(BODY, mtime=0)[:-9], "ends too early"),
    ],
)
def test_bodies_that_are_not_gzip(limited: RestClient, body: bytes, message: str) -> None:
    response = limited.post("/v1/models/m:predict", data=body, encoding="gzip")
    assert response.status_code == 400
    assert message in response.json["error"]


@pytest.fixture
def examples(tmp_path: Path) -> Iterator[RestClient]:
    """A client for a model with Classify and Regress."""
    add_version(tmp_path / "m", 1)
    config = ModelConfig("m", tmp_path / "m", labels={"stable": 1})
    with running(config, load=load_examples_engine) as manager:
        yield RestClient(RestApi(Core(manager)))


@pytest.mark.parametrize(
    ("path", "body", "results"),
    [
        ("m:classify", {"examples": [{"x": 0.1}]}, [[["cold", -0.1], ["warm", 0.1]]]),
        (
            "m/versions/1:classify",
            {"signature_name": "scores", "examples": [{"x": 2.0}, {"x": [0.0]}]},
            [[["", -2.0], ["", 2.0]], [["", 0.0], ["", 0.0]]],
        ),
        (
            "m/labels/stable:classify",
            {"signature_name": "labels", "examples": [{"x": 0.1}]},
            [[["cold", 0.0], ["warm", 0.0]]],
        ),
        (
            "m:regress",
            {"signature_name": "regress", "examples": [{"x": 0.1}, {"x": 1e30}]},
            [0.1, 1e30],
        ),
        (
            "m:regress",
            {"signature_name": "regress", "context": {"x": 7.0}, "examples": [{}, {"x": 1.5}]},
            [7.0, 1.5],
        ),
        ("M:CLASSIFY".lower(), {"examples": [{"x": 1.0}]}, [[["cold", -1.0], ["warm", 1.0]]]),
    ],
)
def test_classify_and_regress(examples: RestClient, path: str, body: Any, results: Any) -> None:
    response = examples.post(f"/v1/models/{path}", json=body)
    assert (response.status_code, response.json) == (200, {"results": results})


def test_whole_results_stay_decimals(examples: RestClient) -> None:
    body = {"signature_name": "regress", "examples": [{"x": 3.0}]}
    assert b"3.0" in examples.post("/v1/models/m:regress", json=body).data


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_results_that_are_not_finite(examples: RestClient, value: str) -> None:
    body = f'{{"signature_name": "regress", "examples": [{{"x": {value}}}]}}'
    assert value.encode() in examples.post("/v1/models/m:regress", data=body).data


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        # The body is read before the model is looked up.
        ("x:classify", {}, 400, "key 'examples' is expected and was not found"),
        ("x:classify", {"examples": [{}]}, 404, f"{NO_MODEL} Latest(x)"),
        ("m:regress", {"examples": [{"x": 1.0}]}, 400, "Expected one output Tensor."),
        ("m:classify", {"examples": [{"x": 1}]}, 400, "feature x has 0 values"),
    ],
)
def test_errors_of_classify_and_regress(examples, path, body, status, error):
    response = examples.post(f"/v1/models/{path}", json=body)
    assert response.status_code == status
    assert response.json["error"].endswith(error)
