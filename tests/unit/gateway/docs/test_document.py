"""Is the document valid, whole, and true?"""

import dataclasses
import hashlib
import importlib.metadata
import json
import re

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from rockstar_client.errors import call_error
from rockstar_serving.gateway.app import create_app
from rockstar_serving.gateway.routes_file import Alias, Routes
from rockstar_serving.gateway.settings import read_files
from tests.unit.gateway.conftest import LIMITED
from tests.unit.gateway.docs.openapi_document import Document
from tfs_api.status import Code

# Pages and their files are for browsers.
PAGES = ("/", "/docs", "/docs/swagger-ui/{name}", "/docs/static/{filename}", "/static/{filename}")
# Where all else is refused as TensorFlow Serving does it.
CATCH_ALL = ("/v1/", "/v1/{path}", "/V1/{path}")


def test_it_is_valid(document):
    assert not [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]


def test_every_route_is_described_and_nothing_else(app, document):
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method)
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    described = {(each.path, each.method) for each in Document(document).operations()}
    assert described == {route for route in routes if route[0] not in PAGES + CATCH_ALL}


def test_nothing_is_described_in_vain(document):
    references = set(re.findall(r'"#/components/(\w+/\w+)"', json.dumps(document)))
    components = {
        f"{kind}/{name}" for kind, group in document["components"].items() for name in group
    }
    assert references == components


def test_its_version_is_the_packages(document):
    assert document["info"]["version"] == importlib.metadata.version("rockstartf")


def test_models_and_aliases_are_named(server):
    routes = Routes(aliases={"digits": Alias(model="toy")})
    files = dataclasses.replace(read_files(LIMITED), routes=routes)
    http = create_app(LIMITED, server, files=files).test_client()
    parameter = http.get("/openapi.json").get_json()["components"]["parameters"]["Model"]
    assert parameter["schema"]["enum"] == ["toy", "table", "number", "digits"]
    assert parameter["example"] == "toy"


def test_without_configured_models_any_name_will_do(server):
    http = create_app(dataclasses.replace(LIMITED, models=()), server).test_client()
    parameter = http.get("/openapi.json").get_json()["components"]["parameters"]["Model"]
    assert "enum" not in parameter["schema"]


def test_it_says_where_the_gateway_is_mounted(http):
    assert http.get("/openapi.json").get_json()["servers"] == [{"url": "/"}]
    mounted = http.get("/openapi.json", environ_overrides={"SCRIPT_NAME": "/ml"})
    assert mounted.get_json()["servers"] == [{"url": "/ml"}]


def test_limits_are_those_of_the_settings(document):
    text = json.dumps(document)
    assert '"maxItems": 8' in text
    assert "200,000" in text


@pytest.fixture
def keyed(server):
    keys = (f"alice:{hashlib.sha256(b'a key').hexdigest()}",)
    return create_app(dataclasses.replace(LIMITED, api_keys=keys), server).test_client()


def test_keys_are_described_where_they_are_asked_for(keyed, document):
    assert "security" not in json.dumps(document)
    document = Document(keyed.get("/openapi.json").get_json(), strict=True)
    assert not list(OpenAPIV31SpecValidator(document.document).iter_errors())
    assert {"bearer": []} in document.document["security"]
    for operation in document.operations():
        response = ask(keyed, operation)
        if operation.described.get("security") == []:
            assert response.status_code == 200, operation
        else:
            assert response.status_code == 401, operation
            assert_described(document, operation, response, "no key")
        answered = ask(keyed, operation, headers={"Authorization": "Bearer a key"})
        assert answered.status_code not in (401, 403), operation


def test_who_has_no_key_does_not_learn_the_names_of_models(keyed):
    text = keyed.get("/openapi.json").text
    assert "number" in text  # as a type
    assert '"enum":["toy"' not in text.replace(" ", "")


OPERATIONS = [
    "GET /v1/models",
    "POST /predict/{model}",
    "POST /explain/{model}",
    "GET /v2",
    "GET /v2/health/live",
    "GET /v2/health/ready",
    *[
        f"{method} /v2/models/{{model}}{version}{what}"
        for version in ("", "/versions/{version}")
        for method, what in (("GET", ""), ("GET", "/ready"), ("POST", "/infer"))
    ],
    *[
        f"{method} /v1/models/{{model}}{which}{what}"
        for which in ("", "/versions/{version}", "/labels/{label}")
        for method, what in (
            ("GET", ""),
            ("GET", "/metadata"),
            ("POST", ":predict"),
            ("POST", ":classify"),
            ("POST", ":regress"),
        )
    ],
    "GET /livez",
    "GET /readyz",
    "GET /metrics",
    "GET /openapi.json",
]


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_failure_is_described(http, server, document, name):
    """Whatever the model server says, and where the gateway itself fails or is asked badly."""
    document = Document(document, strict=True)
    operation = next(each for each in document.operations() if str(each) == name)
    failures = [call_error(code, "the model server's words") for code in Code if code]
    headers = {"X-Request-Timeout": "never"}
    for failure, more in [*((each, {}) for each in failures), (OSError("?"), {}), (None, headers)]:
        server.failure = failure
        response = ask(http, operation, headers=more)
        assert_described(document, operation, response, failure)


# Probes, metrics and pages are never refused.
ALWAYS = ("/livez", "/readyz", "/metrics", "/openapi.json", "/v2/health/live", "/v2/health/ready")


@pytest.mark.parametrize("verdict", ["full", "late"])
def test_every_refusal_for_want_of_room_is_described(http, document, verdict):
    document = Document(document, strict=True)
    for operation in document.operations():
        if operation.path not in ALWAYS:
            response = ask(http, operation, environ_overrides={"rockstar.verdict": verdict})
            assert response.status_code == {"full": 429, "late": 504}[verdict]
            assert_described(document, operation, response, verdict)


def ask(http, operation, **more):
    path = operation.path.format(model="toy", version=1, label="stable")
    return http.open(path, method=operation.method, **body(operation), **more)


def body(operation):
    if operation.method == "GET":
        return {}
    if operation.path.endswith(("classify", "regress")):
        return {"json": {"examples": [{"x": 1.0}]}}
    if operation.path.endswith("/infer"):
        tensor = {"name": "image", "shape": [1, 8, 8, 1], "datatype": "FP32", "data": [0.5] * 64}
        return {"json": {"inputs": [tensor]}}
    return {"json": {"instances": [[[0.5] * 8] * 8]}}


def assert_described(document, operation, response, failure):
    described = operation.responses.get(str(response.status_code))
    assert described, f"{operation}: {response.status_code} after {failure!r}"
    content = described["content"].get(response.mimetype)
    assert content, f"{operation}: {response.mimetype} after {failure!r}"
    if response.is_json:
        assert not document.errors(response.get_json(), content["schema"])
    for name, header in described["headers"].items():
        assert name in response.headers or not document.resolved(header).get("required"), name


def test_all_operations_are_asked(document):
    assert sorted(OPERATIONS) == sorted(map(str, Document(document).operations()))
