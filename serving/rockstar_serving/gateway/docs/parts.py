"""What operations are described with: OpenAPI's objects as plain dictionaries.

Source: https://spec.openapis.org/oas/v3.1.1.html
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from rockstar_serving.gateway.docs.failures import PROBLEM, Manner
from rockstar_serving.gateway.settings import GatewayConfig

Json = dict[str, Any]

# What every answer has, and what some have, see shared.py.
_REQUEST_ID = {"X-Request-ID": {"$ref": "#/components/headers/RequestId"}}
RETRY_AFTER = {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}
MODEL_VERSION = {"X-Model-Version": {"$ref": "#/components/headers/ModelVersion"}}


@dataclass(frozen=True)
class Section:
    """What one API adds to the document.

    Attributes:
        tag: what its operations are grouped under.
        description: of the group.
        paths: its paths for a gateway's settings.
        schemas: of its bodies, by name.
        manner: how it says errors.
    """

    tag: str
    description: str
    paths: Callable[[GatewayConfig], Json]
    schemas: Json = field(default_factory=dict)
    manner: Manner = PROBLEM


def schema(name: str) -> Json:
    """A reference to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def parameter(name: str) -> Json:
    """A reference to a parameter."""
    return {"$ref": f"#/components/parameters/{name}"}


def in_path(name: str, description: str, kind: Json, value: Any) -> Json:
    """A part of a path, with an example."""
    where = {"name": name, "in": "path", "required": True}
    return where | {"description": description, "schema": kind, "example": value}


def version_in_path() -> Json:
    """The version of a model, as a part of a path."""
    return in_path("version", "A version of the model.", schema("Version"), 1)


def query(name: str, description: str, kind: Json) -> Json:
    """An argument in the URL."""
    return {"name": name, "in": "query", "description": description, "schema": kind}


def example(summary: str, value: Any) -> Json:
    """A named example's value, with a few words on it."""
    return {"summary": summary, "value": value}


def media(kind: Json, **examples: Json) -> Json:
    """A body of one media type: its schema, and examples by name."""
    return {"schema": kind} | ({"examples": examples} if examples else {})


def obj(properties: Json, optional: Iterable[str] = ()) -> Json:
    """The schema of an object; what is not optional is required."""
    required = [name for name in properties if name not in set(optional)]
    return {"type": "object", "properties": properties, "required": required}


def array(items: Json, **limits: int) -> Json:
    """The schema of a list; limits are minItems and maxItems."""
    return {"type": "array", "items": items, **limits}


def answer(description: str, content: Json, headers: Json | None = None) -> Json:
    """A response that is no error of the API's manner."""
    return {
        "description": description,
        "headers": _REQUEST_ID | (headers or {}),
        "content": content,
    }


def operation(
    name: str,
    summary: str,
    description: str,
    responses: Json,
    *,
    parameters: Iterable[Json] = (),
    body: Json | None = None,
    is_open: bool = False,
) -> Json:
    """An operation.

    Args:
        name: a unique one, for generated clients.
        summary: a line.
        description: Markdown.
        responses: by status.
        parameters: in URL and headers; those of every operation come by themselves.
        body: media types of the request's body.
        is_open: whether it is answered without an API key where others are not.
    """
    described: Json = {"operationId": name, "summary": summary, "description": description}
    if parameters := list(parameters):
        described["parameters"] = parameters
    if body is not None:
        described["requestBody"] = {"required": True, "content": body}
    if is_open:
        described["security"] = []
    return described | {"responses": responses}
