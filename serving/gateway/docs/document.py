"""The whole document, OpenAPI 3.1: https://spec.openapis.org/oas/v3.1.1.html."""

from collections.abc import Sequence
from importlib.metadata import version as release

from serving.gateway.config import GatewayConfig
from serving.gateway.docs import explain, models, oip, ops, predict, shared
from serving.gateway.docs.parts import Json, Section

# One line for each API.
SECTIONS = (
    predict.SECTION,
    models.SECTION,
    explain.SECTION,
    oip.SECTION,
    ops.SECTION,
)
_DESCRIPTION = """\
Predictions from TensorFlow models, for people and programs that have images or rows of tables and \
want labels or numbers.

Every answer bears `X-Request-ID`. Errors are problem documents (RFC 9457) that say what is wrong, \
where, and how to mend it; under `/v2` they have that protocol's shape."""


def document(config: GatewayConfig, known: Sequence[str], root: str) -> Json:
    """The description of a gateway.

    Args:
        config: its settings.
        known: names that models can be asked for by, as far as they are known.
        root: where it is mounted, such as "/ml"; empty where it is not.
    """
    paths: Json = {}
    schemas = shared.schemas()
    responses: Json = {}
    for section in SECTIONS:
        paths |= _with_common(section, section.paths(config))
        schemas |= section.schemas
        schemas[section.manner.name] = section.manner.schema
        responses |= section.manner.components()
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "RockstarTF gateway",
            "version": release("rockstartf"),
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": root or "/"}],
        "tags": [{"name": each.tag, "description": each.description} for each in SECTIONS],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": responses,
            "parameters": shared.parameters(config, known),
            "headers": shared.headers(),
        },
    }


def _with_common(section: Section, paths: Json) -> Json:
    """Paths with what all operations share: headers, and the group of the section.

    Swagger UI overlooks references among the parameters of a path: they go to its operations.
    """
    for item in paths.values():
        where = item.pop("parameters", [])
        for operation in item.values():
            parameters = operation.get("parameters", [])
            operation["parameters"] = [*where, *parameters, *shared.HEADERS]
            operation["tags"] = [section.tag]
    return paths
