"""`/livez`, `/readyz`, `/metrics` and the document itself."""

from rockstar_serving.gateway.docs.failures import ANYWHERE, PROBLEM
from rockstar_serving.gateway.docs.parts import (
    RETRY_AFTER,
    Json,
    Section,
    answer,
    example,
    media,
    obj,
    operation,
    schema,
)
from rockstar_serving.gateway.settings import GatewayConfig

_ALIVE = {"status": "alive"}
_READY = {"status": "ready", "models": {"cnn": {"ready": True, "version": 1}}}
_NOT_READY = {
    "status": "not ready",
    "models": {"cnn": {"ready": False, "reason": "UNAVAILABLE"}},
}
_METRICS = """\
# HELP rockstar_requests_total Requests by model, version, route and status.
# TYPE rockstar_requests_total counter
rockstar_requests_total{model="cnn",route="/predict/<model>",status="200",version="1"} 7.0
"""


def _paths(_: GatewayConfig) -> Json:
    failures = PROBLEM.responses(*ANYWHERE)
    alive = media(obj({"status": {"const": "alive"}}), alive=example("Alive", _ALIVE))
    return {
        "/livez": {
            "get": operation(
                "live",
                "Is the process alive?",
                "Answers as long as it can; for liveness probes.",
                {"200": answer("It is.", {"application/json": alive})} | failures,
                is_open=True,
            )
        },
        "/readyz": {
            "get": operation(
                "ready",
                "Can it answer?",
                "Asks every configured model; for readiness probes. Fails too while it stops.",
                {"200": _readiness("Every model answers.", ready=example("Ready", _READY))}
                | failures
                | {"503": _not_ready()},
                is_open=True,
            )
        },
        "/metrics": {
            "get": operation(
                "metrics",
                "Metrics for Prometheus",
                "Requests, latencies, batches, answers and drift, of all workers together.",
                {"200": answer("The metrics.", _metrics())} | failures,
                is_open=True,
            )
        },
        "/openapi.json": {
            "get": operation(
                "openapi",
                "This document",
                "OpenAPI 3.1.",
                {"200": answer("It.", {"application/json": media({"type": "object"})})} | failures,
                is_open=True,
            )
        },
    }


def _readiness(description: str, headers: Json | None = None, **examples: Json) -> Json:
    body = {"application/json": media(schema("Readiness"), **examples)}
    return answer(description, body, headers)


def _not_ready() -> Json:
    return _readiness(
        "A model does not answer, or the gateway stops.",
        RETRY_AFTER,
        waiting=example("A model is missing", _NOT_READY),
        stopping=example("The gateway stops", {"status": "stopping"}),
    )


def _metrics() -> Json:
    text = {"type": "string"}
    return {
        "text/plain": media(text, requests=example("Some of them", _METRICS)),
        "application/openmetrics-text": media(text),
    }


_SCHEMAS = {
    "Readiness": obj(
        {
            "status": {"enum": ["ready", "not ready", "stopping"]},
            "models": {"type": "object", "additionalProperties": schema("ModelReadiness")},
        },
        optional=["models"],
    ),
    "ModelReadiness": obj(
        {
            "ready": {"type": "boolean"},
            "version": schema("Version"),
            "reason": {"type": "string", "description": "The code of the model server's answer."},
        },
        optional=["version", "reason"],
    ),
}

SECTION = Section("operations", "For whoever runs the gateway.", _paths, _SCHEMAS)
