"""The gateway's OpenAPI document at `/openapi.json`, and Swagger UI at `/docs`.

Paths, schemas, examples and texts are in openapi.json (OpenAPI 3.1,
https://spec.openapis.org/oas/v3.1.1.html). It is JSON because the gateway has no other use for a
YAML parser. Code adds what depends on the settings, and variants that would be repetitions.
"""

import copy
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import orjson
from flask import Blueprint, Response, render_template, request, send_from_directory
from werkzeug.exceptions import NotFound

from rockstar_serving import installed_version
from rockstar_serving.gateway.api import Api
from rockstar_serving.gateway.authentication import PAGE_HEADERS
from rockstar_serving.gateway.errors import ProblemError
from rockstar_serving.gateway.settings import GatewayConfig
from rockstar_serving.gateway.state import gateway

Json = dict[str, Any]

# Swagger UI's own page is not served: it has inline scripts, which PAGE_HEADERS forbid.
_SWAGGER_UI = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png")
# Swagger UI ignores references among the parameters of a path, so each operation gets these.
_HEADERS = [
    {"$ref": f"#/components/parameters/{name}"}
    for name in ("RequestId", "RequestTimeout", "TraceParent", "TraceState")
]
# Operations that exist again for one version or label: the start of their path, what the variant
# adds to it, its parameter, and how the operation is renamed.
_VARIANTS = (
    ("/v1/models/{model}", "/versions/{version}", "PathVersion", "{}Version"),
    ("/v1/models/{model}", "/labels/{label}", "PathLabel", "{}Label"),
    ("/v2/models/{model}", "/versions/{version}", "PathVersion", "modelVersion{}"),
)


def document(config: GatewayConfig, models: Sequence[str], root: str) -> Json:
    """The OpenAPI document of a gateway that is mounted at a path such as "/ml" or "".

    `models` are the names and aliases of the models that the caller may use.
    """
    described: Json = orjson.loads(Path(__file__).with_name("openapi.json").read_bytes())
    described["info"]["version"] = installed_version()
    described["servers"] = [{"url": root or "/"}]
    keyed = bool(config.api_keys_file or config.api_keys)
    _insert_settings(described, config, models)
    _add_variants(described["paths"])
    operations = [op for item in described["paths"].values() for op in item.values()]
    for operation in operations:
        operation["parameters"] = [*operation.get("parameters", []), *_HEADERS]
        if not keyed:
            operation.pop("security", None)
        elif "security" not in operation:
            responses = operation["responses"]
            reference = responses["400"]["$ref"].removesuffix("400")
            responses |= {key: {"$ref": reference + key} for key in ("401", "403")}
    if not keyed:
        del described["security"], described["components"]["securitySchemes"]
    described["components"]["responses"] = _responses(described, operations)
    return described


@lru_cache(maxsize=16)  # it takes ten times as long as a prediction
def _document_text(config: GatewayConfig, models: tuple[str, ...], root: str) -> bytes:
    described = document(config, models, root)
    return orjson.dumps(described, option=orjson.OPT_APPEND_NEWLINE)


def _insert_settings(described: Json, config: GatewayConfig, models: Sequence[str]) -> None:
    parameters, schemas = (described["components"][kind] for kind in ("parameters", "schemas"))
    schemas["Instances"]["properties"]["instances"]["maxItems"] = config.max_instances
    parameters["RequestTimeout"]["schema"]["maximum"] = config.max_request_timeout
    if models:
        parameters["Model"]["schema"]["enum"] = list(models)
        parameters["Model"]["example"] = models[0]
    for node in (described["paths"]["/predict/{model}"]["post"], parameters["RequestTimeout"]):
        node["description"] = Template(node["description"]).substitute(
            max_instances=config.max_instances,
            max_body_bytes=f"{config.max_body_bytes:,}",
            max_pixels=f"{config.max_pixels:,}",
            request_timeout=f"{config.request_timeout:g}",
        )


def _add_variants(paths: Json) -> None:
    originals = list(paths.items())
    for start, addition, parameter, name in _VARIANTS:
        for path, item in originals:
            if not path.startswith(start):
                continue
            variant = copy.deepcopy(item)
            for operation in variant.values():
                original = operation["operationId"].removeprefix("model")
                operation["operationId"] = name.format(original)
                reference = {"$ref": f"#/components/parameters/{parameter}"}
                operation["parameters"].insert(1, reference)
            paths[start + addition + path.removeprefix(start)] = variant


def _responses(described: Json, operations: Sequence[Json]) -> Json:
    """The error responses that operations refer to, in the error format of their API.

    openapi.json has problem documents such as "Problem404"; "OipError404" and "TfServingError404"
    are made from them.
    """
    responses: Json = described["components"]["responses"]
    used = {
        response["$ref"].rpartition("/")[2]
        for operation in operations
        for response in operation["responses"].values()
        if "$ref" in response
    }
    for name in used - responses.keys():
        schema, status = name[:-3], name[-3:]
        problem = responses[f"Problem{status}"]
        (content,) = problem["content"].values()
        example = content["examples"]["error"]["value"]
        text = ProblemError(int(status), example["detail"], hint=example.get("hint", "")).text
        content = {
            "schema": {"$ref": f"#/components/schemas/{schema}"},
            "examples": {"error": {"value": {"error": text}}},
        }
        responses[name] = problem | {"content": {"application/json": content}}
    return {name: response for name, response in responses.items() if name in used}


_blueprint = Blueprint("docs", __name__)


@_blueprint.get("/openapi.json")
def _openapi() -> Response:
    state = gateway()
    models = state.visible((*state.served.names, *state.aliases))
    text = _document_text(state.config, tuple(models), request.root_path.rstrip("/"))
    return Response(text, content_type="application/json")


@_blueprint.get("/docs")
def _page() -> str:
    return render_template("docs.html")


@_blueprint.get("/docs/swagger-ui/<name>")
def _swagger_ui(name: str) -> Response:
    if name not in _SWAGGER_UI:
        raise NotFound
    return send_from_directory(str(files("flask_swagger_ui") / "dist"), name)


API = Api("docs", _blueprint, unlimited=True, headers=PAGE_HEADERS)
