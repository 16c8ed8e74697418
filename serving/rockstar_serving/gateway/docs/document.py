"""The whole document, OpenAPI 3.1: https://spec.openapis.org/oas/v3.1.1.html."""

from collections.abc import Sequence
from importlib.metadata import version as release

from rockstar_serving.gateway.docs import explain, models, oip, ops, predict, shared, tfserving
from rockstar_serving.gateway.docs.failures import KEYED
from rockstar_serving.gateway.docs.parts import Json, Section
from rockstar_serving.gateway.settings import GatewayConfig

# One line for each API.
SECTIONS = (
    predict.SECTION,
    models.SECTION,
    explain.SECTION,
    tfserving.SECTION,
    oip.SECTION,
    ops.SECTION,
)
_DESCRIPTION = """\
Predictions from TensorFlow models, for people and programs that have images or rows of tables and \
want labels or numbers.

Every answer bears `X-Request-ID`. Errors are problem documents (RFC 9457) that say what is wrong, \
where, and how to mend it; TensorFlow Serving's and the Open Inference Protocol's paths say them \
in those protocols' shapes."""


def document(config: GatewayConfig, known: Sequence[str], root: str) -> Json:
    """The description of a gateway.

    Args:
        config: its settings.
        known: names that models can be asked for by, as far as they are known.
        root: where it is mounted, such as "/ml"; empty where it is not.
    """
    keyed = bool(config.api_keys_file or config.api_keys)
    paths: Json = {}
    schemas = shared.schemas()
    responses: Json = {}
    for section in SECTIONS:
        paths |= _with_common(section, section.paths(config), keyed)
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
            "responses": _used(responses, paths),
            # This document is open: who has no key does not learn from it what there is.
            "parameters": shared.parameters(config, () if keyed else known),
            "headers": shared.headers(),
        }
        | ({"securitySchemes": shared.SECURITY_SCHEMES} if keyed else {}),
    } | ({"security": [{name: []} for name in shared.SECURITY_SCHEMES]} if keyed else {})


def _with_common(section: Section, paths: Json, keyed: bool) -> Json:
    """Paths with what all operations share: headers, keys, and the group of the section.

    Swagger UI overlooks references among the parameters of a path: they go to its operations.
    """
    for item in paths.values():
        where = item.pop("parameters", [])
        for operation in item.values():
            parameters = operation.get("parameters", [])
            operation["parameters"] = [*where, *parameters, *shared.HEADERS]
            operation["tags"] = [section.tag]
            if not keyed:
                operation.pop("security", None)
            elif "security" not in operation:
                operation["responses"] |= section.manner.responses(*KEYED)
    return paths


def _used(responses: Json, paths: Json) -> Json:
    """Those that operations refer to."""
    names = {
        response.get("$ref", "").rpartition("/")[2]
        for item in paths.values()
        for operation in item.values()
        for response in operation["responses"].values()
    }
    return {name: response for name, response in responses.items() if name in names}
