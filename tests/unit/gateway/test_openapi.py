"""The OpenAPI document is valid, complete and correct; its examples work; `/docs` shows it.

tests/browser opens the page in a browser.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import re
from urllib.parse import urljoin

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from rockstar_client.errors import call_error
from rockstar_contract.contract import Score, Value
from rockstar_contract.limits import MAX_RANK
from rockstar_contract.tables import CategoricalColumn, DateColumn, NumericColumn
from rockstar_serving.gateway.answers import Failed
from rockstar_serving.gateway.app import create_app
from rockstar_serving.gateway.open_inference import (
    HEADER_LENGTH,
    InferRequest,
    InferResponse,
    InputTensor,
    OutputTensor,
)
from rockstar_serving.gateway.predict import DEFAULT_TOP
from rockstar_serving.gateway.routes_file import Alias, Routes
from rockstar_serving.gateway.settings import read_files
from tests.unit.gateway.conftest import LIMITED, FakeServer
from tests.unit.gateway.openapi_document import Document
from tfs_api.open_inference import DATATYPES
from tfs_api.status import Code

# Pages, their files and their data are for browsers, and may change.
PAGES = (
    "/",
    "/docs",
    "/docs/swagger-ui/{name}",
    "/edge/{model}",
    "/litert/{version}/{name}",
    "/playground",
    "/static/{filename}",
    *(
        f"/page/models/{{model}}{what}"
        for what in ("", "/inspect", "/corrections", "/card", "/report")
    ),
)
# Other paths get TensorFlow Serving's errors.
CATCH_ALL = ("/v1/", "/v1/{path}", "/V1/{path}")


@pytest.fixture
def server():
    return FakeServer.of_all_kinds()


APP = create_app(LIMITED, FakeServer.of_all_kinds())
DOCUMENT = Document(json.loads(APP.test_client().get("/openapi.json").data))


@pytest.fixture
def http(server, create_gateway):
    return create_gateway(LIMITED, server).test_client()


@pytest.fixture(scope="module")
def document():
    return DOCUMENT.document


def test_it_is_valid(document):
    assert not [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]


def test_every_route_is_described_and_nothing_else():
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method)
        for rule in APP.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    described = {(each.path, each.method) for each in DOCUMENT.operations()}
    assert described == {route for route in routes if route[0] not in PAGES + CATCH_ALL}


def test_every_component_is_used(document):
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


def test_servers_has_the_path_prefix(http):
    assert http.get("/openapi.json").get_json()["servers"] == [{"url": "/"}]
    mounted = http.get("/openapi.json", headers={"X-Forwarded-Prefix": "/ml"})
    assert mounted.get_json()["servers"] == [{"url": "/ml"}]


def test_limits_are_those_of_the_settings(document):
    text = json.dumps(document)
    assert '"maxItems": 8' in text
    assert "200,000" in text


SCHEMAS = {
    "OipRequest": InferRequest,
    "OipInput": InputTensor,
    "OipResponse": InferResponse,
    "OipOutput": OutputTensor,
    "NumericColumn": NumericColumn,
    "CategoricalColumn": CategoricalColumn,
    "DateColumn": DateColumn,
    "Score": Score,
    "Value": Value,
    "Failed": Failed,
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_has_the_members_of_its_struct(document, name):
    """The schemas say more than msgspec can derive: enums, limits that only code checks, prose."""
    schema = document["components"]["schemas"][name]
    _, derived = msgspec.json.schema_components([SCHEMAS[name]], ref_template="{name}")
    struct = derived[SCHEMAS[name].__name__]
    adjusted = {"imputed", "other"} if name == "Value" else set()
    assert schema["properties"].keys() - adjusted == struct["properties"].keys()
    assert set(schema["required"]) == set(struct["required"])


def test_constants_in_the_document_are_those_of_the_code(document):
    schemas = document["components"]["schemas"]
    assert schemas["OipInput"]["properties"]["datatype"]["enum"] == list(DATATYPES)
    assert schemas["OipInput"]["properties"]["shape"]["maxItems"] == MAX_RANK
    arguments = document["paths"]["/predict/{model}"]["post"]["parameters"]
    top = next(each for each in arguments if each.get("name") == "top")
    assert f" {DEFAULT_TOP} without it" in top["description"]
    infer = document["paths"]["/v2/models/{model}/infer"]["post"]
    assert HEADER_LENGTH in infer["responses"]["200"]["headers"]
    assert HEADER_LENGTH in [each.get("name") for each in infer["parameters"]]


@pytest.fixture
def keyed(server, create_gateway):
    keys = (f"alice:{hashlib.sha256(b'a key').hexdigest()}",)
    return create_gateway(dataclasses.replace(LIMITED, api_keys=keys), server).test_client()


def test_keys_are_described_if_they_are_required(keyed, document):
    assert "security" not in json.dumps(document)
    described = keyed.get("/openapi.json", headers={"X-API-Key": "a key"}).get_json()
    document = Document(described, strict=True)
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


@pytest.mark.parametrize("name", sorted(map(str, DOCUMENT.operations())))
def test_every_failure_is_described(http, server, document, name):
    """Errors of the model server, of the gateway itself, and of the request."""
    document = Document(document, strict=True)
    operation = next(each for each in document.operations() if str(each) == name)
    failures = [call_error(code, "the model server's words") for code in Code if code]
    headers = {"X-Request-Timeout": "never"}
    for failure, more in [*((each, {}) for each in failures), (OSError("?"), {}), (None, headers)]:
        server.failure = failure
        response = ask(http, operation, headers=more)
        assert_described(document, operation, response, failure)


# Probes, metrics and pages are never rejected.
ALWAYS = ("/livez", "/readyz", "/metrics", "/openapi.json", "/v2/health/live", "/v2/health/ready")


@pytest.mark.parametrize(("queue", "status"), [(0, 429), (1, 504)])
def test_every_rejection_under_overload_is_described(server, document, queue, status):
    config = dataclasses.replace(LIMITED, threads=0, queue=queue, request_timeout=0.01)
    http = create_app(config, server).test_client()
    document = Document(document, strict=True)
    for operation in document.operations():
        if operation.path not in ALWAYS:
            response = ask(http, operation)
            assert response.status_code == status
            assert_described(document, operation, response, status)


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


# Models by the names of examples for them.
MODELS = dict.fromkeys(("row", "rows", "columns", "array", "request"), "table")


def example_values(content):
    return [each["value"] for each in content.get("examples", {}).values()]


def test_every_example_fits_its_schema(document):
    document = Document(document, strict=True)
    checked = 0
    for operation in document.operations():
        body = operation.described.get("requestBody", {"content": {}})
        contents = [body["content"], *(each["content"] for each in operation.responses.values())]
        for content in (media for each in contents for media in each.values()):
            for value in example_values(content):
                assert not document.errors(value, content["schema"]), operation
                checked += 1
        for parameter in operation.parameters:
            if "example" in parameter:
                assert not document.errors(parameter["example"], parameter["schema"]), parameter
    assert checked > 80


def test_every_operation_has_examples(document):
    for operation in Document(document).operations():
        for status, response in operation.responses.items():
            if operation.path != "/openapi.json" or status != "200":
                assert any(example_values(media) for media in response["content"].values()), (
                    operation
                )


def example_requests(document):
    for operation in document.operations():
        body = operation.described.get("requestBody")
        for media_type, content in body["content"].items() if body else [("", {})]:
            for name, each in content.get("examples", {"": {"value": None}}).items():
                if each["value"] is not None or not body:
                    yield operation, media_type, name, each["value"]


def test_every_example_of_a_request_gets_a_response_as_described(http, server, document):
    strict = Document(document, strict=True)
    sent = 0
    server.labels = {"stable": 1}
    for operation, media_type, name, value in example_requests(strict):
        data = value if isinstance(value, str) or value is None else json.dumps(value)
        response = http.open(
            operation.path.format(model=MODELS.get(name, "toy"), version=1, label="stable"),
            method=operation.method,
            data=data,
            content_type=media_type or None,
        )
        assert response.status_code == 200, (operation, name, response.text)
        content = operation.responses["200"]["content"][response.mimetype]
        if response.is_json:
            assert not strict.errors(response.get_json(), content["schema"]), operation
        sent += 1
    assert sent >= 36


def test_the_page_and_all_that_it_names_come_from_here(http):
    page = http.get("/docs")
    assert page.mimetype == "text/html"
    named = re.findall(r'(?:src|href|data-document)="([^"]+)"', page.text)
    assert len(named) >= 5
    for path in named:
        response = http.get(urljoin("/docs", path))
        assert response.status_code == 200, path
        response.close()


def test_it_allows_nothing_inline_and_nothing_from_elsewhere(http):
    page = http.get("/docs")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert not re.search(r"<script>|<style|style=|onload=", page.text)
    assert page.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("page", ["/docs", "/"])
def test_it_works_wherever_a_proxy_mounts_the_gateway(http, page):
    """Relative links also work behind a proxy that does not send its prefix."""
    links = r'(?:src|href|data-document)="([^"]+)"'
    named = re.findall(links, http.get(page).text)
    assert len(named) >= 4
    told = http.get(page, headers={"X-Forwarded-Prefix": "/a/b"})
    assert re.findall(links, told.text) == [f"/a/b/{path}" for path in named]


def test_swagger_ui_is_one_that_reads_openapi_3_1(http):
    with http.get("/docs/swagger-ui/swagger-ui-bundle.js") as response:
        assert response.mimetype == "text/javascript"
        assert b"openapi31" in response.data.lower() or b"OpenApi31" in response.data


@pytest.mark.parametrize("name", ["index.html", "LICENSE", "..%2f__init__.py", "../__init__.py"])
def test_other_files_of_its_package_are_not_served(http, name):
    assert http.get(f"/docs/swagger-ui/{name}").status_code == 404
