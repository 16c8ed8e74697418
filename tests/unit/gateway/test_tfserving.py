"""TensorFlow Serving's REST API over a fake model server."""

import dataclasses
import hashlib

import msgspec
import numpy as np
import pytest
from werkzeug.test import EnvironBuilder

from rockstar_client.backend import Metadata, TensorResponse
from rockstar_client.errors import call_error
from tests.contracts import make_contract
from tests.unit.gateway.conftest import FakeServer
from tfs_api.signature import Signature, TensorSpec, signature_def
from tfs_api.status import Code

IMAGES = np.random.default_rng(0).random((2, 8, 8, 1), dtype=np.float32)


def seen(notes):
    """Model, version, number of examples and status of each request."""
    return [(each.model, each.version, each.instances, status) for each, status in notes.answers]


def test_observers_get_model_version_and_phases(config, server, notes, create_gateway):
    http = create_gateway(config, server, observers=[notes]).test_client()
    http.post("/v1/models/toy:predict", json={"instances": IMAGES.tolist()})
    assert seen(notes) == [("toy", 1, 2, 200)]
    phases = {phase.name for phase in notes.answers[0][0].phases}
    assert phases == {"preprocess", "upstream", "postprocess"}
    http.post("/v1/models/toy:regress", json={"examples": [{"x": 1.0}] * 3})
    assert seen(notes)[1] == ("toy", 1, 3, 200)


def test_signatures_are_read_once(http, server):
    for _ in range(3):
        assert http.post("/v1/models/toy:predict", json={"inputs": IMAGES.tolist()}).status_code == 200  # fmt: skip
    assert server.metadata_reads == 1
    server.versions[2] = make_contract(version=2)
    for _ in range(3):
        assert http.post("/v1/models/toy:predict", json={"inputs": IMAGES.tolist()}).status_code == 200  # fmt: skip
    assert server.metadata_reads == 2


def test_a_new_version_that_takes_something_else_is_noticed(http, server):
    body = {"instances": [{"image": image} for image in IMAGES.tolist()]}
    assert http.post("/v1/models/toy:predict", json=body).status_code == 200
    contract = server.versions[1]
    renamed = msgspec.structs.replace(contract.input, name="pixels")
    server.versions[2] = make_contract(version=2, input=renamed)
    # JSON for the old version gets an error that names the mismatch with the new one.
    old = http.post("/v1/models/toy:predict", json=body)
    assert (old.status_code, list(old.get_json())) == (400, ["error"])
    body = {"instances": [{"pixels": image} for image in IMAGES.tolist()]}
    assert http.post("/v1/models/toy:predict", json=body).status_code == 200
    # And back.
    del server.versions[2]
    body = {"inputs": IMAGES.tolist()}
    assert http.post("/v1/models/toy:predict", json=body).status_code == 200


class Lenient(FakeServer):
    """Returns its input of any dtype; odd versions take float32, even ones strings."""

    def metadata(self, query):
        version = self._version(query)
        dtype = np.dtype(np.float32 if version % 2 else object)
        spec = {"x": TensorSpec("x:0", dtype, (-1,))}
        return Metadata(version, {"serving_default": signature_def(Signature(spec, spec))})

    def predict(self, query):
        return TensorResponse({"y": query.inputs["x"]}, self._version(query))


def test_json_is_read_again_for_another_version(config, create_gateway):
    server = Lenient()
    http = create_gateway(config, server).test_client()

    def ask(values):
        return http.post("/v1/models/toy:predict", json={"inputs": values}).get_json()

    assert ask([1.5]) == {"outputs": [1.5]}
    server.versions[2] = make_contract(version=2)
    # Version 2 does not accept the number 1.5, although the fake server would.
    assert "error" in ask([1.5])
    assert ask(["a"]) == {"outputs": ["a"]}
    server.versions[3] = make_contract(version=3)
    assert ask([2.5]) == {"outputs": [2.5]}


def test_a_version_that_is_unloaded_right_after_it_responded(config, create_gateway):
    class Swapping(FakeServer):
        """Unloads the version that responded."""

        def predict(self, query):
            response = super().predict(query)
            if response.version == 2:
                self.versions = {3: make_contract(version=3)}
            return response

    server = Swapping()
    http = create_gateway(config, server).test_client()
    body = {"inputs": IMAGES.tolist()}
    assert http.post("/v1/models/toy:predict", json=body).status_code == 200
    server.versions = {2: make_contract(version=2)}
    assert http.post("/v1/models/toy:predict", json=body).status_code == 200


@pytest.mark.parametrize(
    ("method", "body", "results"),
    [
        ("classify", {"examples": [{"x": 0.1}]}, [[["cold", -0.1], ["warm", 0.1]]]),
        (
            "classify",
            {"signature_name": "hot", "examples": [{"x": 0.5}, {"x": 2.0}]},
            [[["cold", -0.5], ["hot", 0.5]], [["cold", -2.0], ["hot", 2.0]]],
        ),
        ("regress", {"context": {"x": 7.0}, "examples": [{}, {"x": [0.1]}]}, [7.0, 0.1]),
    ],
)
def test_classify_and_regress(http, method, body, results):
    response = http.post(f"/v1/models/toy:{method}", json=body)
    assert (response.status_code, response.get_json()) == (200, {"results": results})


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("POST", "toy:predict", b"{}", 400, "Missing 'inputs' or 'instances' key"),
        ("POST", "toy:predict", b'{"instances": [1]}', 400, "input does not match signature"),
        (
            *("POST", "toy:classify", b"{}", 400),
            "JSON Value: {} When method is classify, key 'examples' is expected and was not found",
        ),
        ("TRACE", "toy", b"", 405, "/v1/models/toy does not take TRACE. GET /docs shows what can be sent."),
        (
            *("POST", "toy:classify", b'{"signature_name": "\\ud800", "examples": [{"x": 1.0}]}', 400),
            "JSON Parse error: The surrogate pair in string is invalid.",
        ),
    ],
)  # fmt: skip
def test_errors_have_tensorflow_servings_format(http, method, path, body, status, error):
    for _ in range(2):  # the second time with the cached signature
        response = http.open(f"/v1/models/{path}", method=method, data=body)
        assert (response.status_code, response.get_json()) == (status, {"error": error})
        assert response.headers["X-Request-ID"]


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        (Code.INVALID_ARGUMENT, 400, True),
        (Code.FAILED_PRECONDITION, 400, True),
        (Code.RESOURCE_EXHAUSTED, 429, True),
        (Code.UNIMPLEMENTED, 501, True),
        (Code.UNAVAILABLE, 503, False),
        (Code.DEADLINE_EXCEEDED, 504, False),
        (Code.INTERNAL, 500, False),
    ],
)
def test_failures_of_the_model_server(http, server, code, status, said):
    assert http.post("/v1/models/toy:predict", json={"inputs": IMAGES.tolist()}).status_code == 200
    server.failure = call_error(code, "what it says")
    for method, path in (("POST", "toy:predict"), ("POST", "toy:classify"), ("GET", "toy")):
        body = {"inputs": IMAGES.tolist(), "examples": [{"x": 1.0}]}
        response = http.open(f"/v1/models/{path}", method=method, json=body)
        assert response.status_code == status
        assert list(response.get_json()) == ["error"]
        assert (response.get_json()["error"] == "what it says") == said
        assert "what it says" in response.text or not said
        assert ("Retry-After" in response.headers) == (status in (429, 503))


def test_hints_are_not_repeated(http):
    response = http.get("/v1/models/toy", headers={"X-Request-Timeout": "soon"})
    error = "X-Request-Timeout: expected seconds above 0, at most 60, got 'soon'"
    hint = "GET /docs shows what can be sent."
    assert (response.status_code, response.get_json()) == (400, {"error": f"{error}; {hint}"})


@pytest.mark.parametrize(
    "path", ["toy:predict", "t%6Fy:predict", "toy/versions/1:predict", "toy/metadata", "toy"]
)
def test_a_key_is_for_its_models(config, server, tmp_path, path, create_gateway):
    keys = tmp_path / "keys.toml"
    digest = hashlib.sha256(b"key").hexdigest()
    keys.write_text(f"[keys.bob]\nsha256 = '{digest}'\nmodels = ['other']\n")
    changed = dataclasses.replace(config, api_keys_file=str(keys))
    http = create_gateway(changed, server).test_client()
    method = "POST" if ":" in path else "GET"
    for base in ("/v1/models", "/V1/Models"):
        refused = http.open(f"{base}/{path}", method=method, json={"inputs": []})
        assert refused.status_code == 401
        assert refused.get_json()["error"].startswith("An API key is needed. Send the header")
        headers = {"X-API-Key": "key"}
        refused = http.open(f"{base}/{path}", method=method, headers=headers, json={"inputs": []})
        assert refused.status_code == 403
        assert refused.get_json() == {"error": "This API key is not for the model toy."}
    assert not server.batches
    assert not server.metadata_reads


def test_routes_are_followed(config, server, notes, tmp_path, create_gateway):
    server.versions[2] = make_contract(version=2)
    routes = tmp_path / "routes.toml"
    routes.write_text("[aliases.old]\nmodel = 'toy'\nversion = 1\n")
    changed = dataclasses.replace(config, routes=str(routes))
    http = create_gateway(changed, server, observers=[notes]).test_client()
    for model in ("old", "toy", "old"):
        body = {"inputs": IMAGES.tolist()}
        assert http.post(f"/v1/models/{model}:predict", json=body).status_code == 200
    assert [version for _, version, _, _ in seen(notes)] == [1, 2, 1]


def test_a_wsgi_server_that_does_not_keep_the_url(http):
    """Like wsgiref; gunicorn has RAW_URI, others REQUEST_URI."""
    environ = EnvironBuilder(path="/v1/models/toy/versions/1").get_environ()
    del environ["REQUEST_URI"], environ["RAW_URI"]
    statuses: list[str] = []
    content = b"".join(http.application(environ, lambda status, _: statuses.append(status)))
    assert (statuses, b'"AVAILABLE"' in content) == (["200 OK"], True)
