"""Classify and regress over REST: what is asked, what is answered."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client

from rockstar_serving.model_server.inference.core import Core
from rockstar_serving.model_server.models.config import ModelConfig
from rockstar_serving.model_server.models.manager import Manager
from rockstar_serving.model_server.options import LoadOptions
from rockstar_serving.model_server.rest_api.service import RestService
from tests.examples_engine import load_examples_engine
from tests.fake_engine import add_version


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    add_version(tmp_path / "m", 1)
    config = ModelConfig("m", tmp_path / "m", labels={"stable": 1})
    manager = Manager(
        [config],
        load_examples_engine,
        LoadOptions(poll_seconds=0, allow_labels_for_unavailable=True),
    )
    manager.start()
    yield Client(RestService(Core(manager)))
    manager.stop()


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
def test_results(client: Client, path: str, body: Any, results: Any) -> None:
    response = client.post(f"/v1/models/{path}", json=body)
    assert (response.status_code, response.json) == (200, {"results": results})
    assert response.content_type == "application/json"


def test_whole_numbers_stay_decimals(client: Client) -> None:
    body = {"signature_name": "regress", "examples": [{"x": 3.0}]}
    assert b"3.0" in client.post("/v1/models/m:regress", json=body).data


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_none(client: Client, value: str) -> None:
    body = f'{{"signature_name": "regress", "examples": [{{"x": {value}}}]}}'
    assert value.encode() in client.post("/v1/models/m:regress", data=body).data


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("m:classify", {"examples": []}, 400, "'examples' value is an empty array"),
        ("m:regress", {"instances": [1]}, 400, "key 'examples' is expected and was not found"),
        # The body is read before the model is looked for.
        ("x:classify", {}, 400, "key 'examples' is expected and was not found"),
        (
            "x:classify",
            {"examples": [{}]},
            404,
            "Servable not found for request: Latest(x)",
        ),
        (
            "m/versions/7:regress",
            {"examples": [{}]},
            404,
            "Servable not found for request: Specific(m, 7)",
        ),
        (
            "m/labels/beta:regress",
            {"examples": [{}]},
            400,
            "Unrecognized servable version label: beta",
        ),
        (
            "m:classify",
            {"signature_name": "s", "examples": [{}]},
            400,
            "No signature was found with the name: s",
        ),
        ("m:regress", {"examples": [{"x": 1.0}]}, 400, "Expected one output Tensor."),
        ("m:classify", {"examples": [{"x": 1}]}, 400, "feature x has 0 values"),
        (
            "m:classify",
            {"examples": [{"x": [1.5, 1]}]},
            400,
            "Unexpected element type in feature: x expecting type: float",
        ),
    ],
)
def test_errors(client: Client, path: str, body: Any, status: int, error: str) -> None:
    response = client.post(f"/v1/models/{path}", json=body)
    assert response.status_code == status
    assert response.json is not None
    assert response.json["error"].endswith(error)
