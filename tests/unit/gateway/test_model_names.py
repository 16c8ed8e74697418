"""Model names that URLs must quote, as in TensorFlow Serving."""

import dataclasses
from urllib.parse import quote

import numpy as np
import pytest

from tests.contracts import make_contract
from tests.images import png, stroke
from tests.metrics import samples
from tests.unit.gateway.conftest import FakeServer

NAMES = ["team/digits", "digits:v2", "my digits", "chiffres été 数字", "100%", "a%2Fb", "a?b#c"]
IMAGE = np.zeros((1, 8, 8, 1), np.float32).tolist()


@pytest.mark.parametrize("name", NAMES)
def test_every_api_takes_it(config, name, create_gateway):
    config = dataclasses.replace(config, models=(name,))
    http = create_gateway(config, FakeServer(**{name: make_contract()})).test_client()
    path = quote(name, safe="")

    def answer(method, url, **body):
        response = http.open(url, method=method, **body)
        assert response.status_code == 200, response.text
        return response.get_json()

    image = {"data": png(stroke()), "content_type": "image/png"}
    assert answer("POST", f"/predict/{path}", **image)["model"] == name
    assert answer("POST", f"/explain/{path}", **image)["model"] == name
    assert answer("GET", "/v1/models")["models"][0]["model"] == name
    assert "model_version_status" in answer("GET", f"/v1/models/{path}")
    metadata = answer("GET", f"/v1/models/{path}/versions/1/metadata")
    assert metadata["model_spec"]["name"] == name
    assert "predictions" in answer("POST", f"/v1/models/{path}:predict", json={"instances": IMAGE})
    tensor = {"name": "image", "shape": [1, 8, 8, 1], "datatype": "FP32", "data": IMAGE}
    for model in (f"/v2/models/{path}", f"/v2/models/{path}/versions/1"):
        assert answer("GET", model)["name"] == name
        assert answer("GET", f"{model}/ready")["ready"]
        inferred = answer("POST", f"{model}/infer", json={"inputs": [tensor]})
        assert (inferred["model_name"], inferred["model_version"]) == (name, "1")
    # Route names are those of any other model.
    routes = {key for key in samples(http.get("/metrics").text) if "/predict/<model>" in str(key)}
    assert routes
