"""Parameters and headers that several operations share."""

from collections.abc import Sequence

from rockstar_serving.gateway.docs.parts import Json, parameter
from rockstar_serving.gateway.settings import GatewayConfig

# Of every operation. Optional parameters have no examples: Swagger UI would send them.
HEADERS = [parameter(name) for name in ("RequestId", "RequestTimeout", "TraceParent", "TraceState")]
_TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


SECURITY_SCHEMES: Json = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "Likewise."},
}


def parameters(config: GatewayConfig, models: Sequence[str]) -> Json:
    """The shared parameters by name.

    Args:
        config: settings.
        models: names that a model can be asked for by, as far as they are known.
    """
    return _of_models(models) | _of_requests(config)


def _of_models(models: Sequence[str]) -> Json:
    """Those that say which model, and which version of it."""
    known: Json = {"enum": list(models)} if models else {}
    return {
        "Model": {
            "name": "model",
            "in": "path",
            "required": True,
            "description": "The name of a model, or an alias.",
            "schema": {"type": "string", **known},
            "example": models[0] if models else "cnn",
        },
        "Version": {
            "name": "version",
            "in": "query",
            "description": "A version of the model; without it and `label` the gateway's routes "
            "decide, and without those it is the newest.",
            "schema": {"$ref": "#/components/schemas/Version"},
        },
        "Label": {
            "name": "label",
            "in": "query",
            "description": "A label that the model server gives a version, such as `stable`; not "
            "beside `version`.",
            "schema": {"type": "string", "minLength": 1},
        },
    }


def _of_requests(config: GatewayConfig) -> Json:
    """Those of every operation, see HEADERS."""
    return {
        "RequestId": {
            "name": "X-Request-ID",
            "in": "header",
            "description": "Finds this request in logs: up to 64 letters, digits, `-`, `.`, `_`. "
            "Anything else, or nothing, is replaced.",
            "schema": {"type": "string"},
        },
        "RequestTimeout": {
            "name": "X-Request-Timeout",
            "in": "header",
            "description": "Seconds that the answer may take from when the body has arrived; "
            f"without it {config.request_timeout:g}. What is left goes to the model server.",
            "schema": {
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": config.max_request_timeout,
            },
        },
        "TraceParent": {
            "name": "traceparent",
            "in": "header",
            "description": "The place in a distributed trace (W3C Trace Context), such as "
            f"`{_TRACEPARENT}`; passed on to the model server.",
            "schema": {"type": "string"},
        },
        "TraceState": {
            "name": "tracestate",
            "in": "header",
            "description": "What tracing systems want passed on beside `traceparent`.",
            "schema": {"type": "string"},
        },
    }


def headers() -> Json:
    """The shared headers of answers by name."""
    return {
        "RequestId": {
            "description": "The request's id, the caller's own where it sent a usable one.",
            "required": True,
            "schema": {"type": "string"},
            "example": "my-request-1",
        },
        "RetryAfter": {
            "description": "Seconds to wait before the next try.",
            "required": True,
            "schema": {"type": "integer", "minimum": 1},
            "example": 1,
        },
        "ModelVersion": {
            "description": "The version that answered, where the body does not say it.",
            "schema": {"$ref": "#/components/schemas/Version"},
            "example": 1,
        },
    }


def schemas() -> Json:
    """The shared schemas by name."""
    return {
        "Version": {
            "type": "integer",
            "minimum": 1,
            "maximum": 2**63 - 1,
            "description": "The number of a version.",
        }
    }
