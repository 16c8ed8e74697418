"""A running gateway: whether it lives, is ready, and which versions it serves."""

import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from clients.arguments import Endpoint, fixed_headers
from clients.tls import Tls
from commandline.checks.finding import Finding

_TIMEOUT_S = 10.0
_START = "start one with rockstar serve, or name another --url"
_NAME_CA = "name the certificate of its authority with --ca"
_NO_GATEWAY = "that is no RockstarTF gateway: name another --url"


def check_service(
    url: str, api_key: str | None = None, ca: Path | None = None
) -> Iterator[Finding]:
    """`/livez`, `/readyz` and the models of a gateway.

    Raises:
        InvalidInputError: it is no URL of HTTP, no header can hold the key, or `ca` is no PEM file.
    """
    endpoint = Endpoint.of(url, None if ca is None else Tls(ca))
    tls = None if endpoint.tls is None else endpoint.tls.context()
    get = partial(_get, urlsplit(endpoint.url), tls, fixed_headers(api_key, None))
    try:
        status, answer = get("/livez")
    except (OSError, http.client.HTTPException) as error:
        fix = _NAME_CA if isinstance(error, ssl.SSLCertVerificationError) else _START
        yield Finding(url, "failed", f"/livez: {_why(error)}", fix)
        return
    if answer.get("status") != "alive":
        yield Finding(url, "failed", f"/livez answers {status}", _NO_GATEWAY)
        return
    yield Finding(url, "ok", "alive")
    try:
        yield from _ready(url, *get("/readyz"))
        yield from _models(url, *get("/v1/models"))
    except (OSError, http.client.HTTPException) as error:
        yield Finding(url, "failed", f"stopped answering: {_why(error)}", _START)


def _ready(url: str, status: int, answer: dict[str, Any]) -> Iterator[Finding]:
    models = answer.get("models", {})
    if status == http.HTTPStatus.OK:
        yield Finding(url, "ok", f"ready: {', '.join(models)}")
        return
    if not models:
        yield Finding(url, "failed", f"not ready: {answer.get('status', status)}", "try again")
    for model, state in models.items():
        if not state["ready"]:
            detail = f"not ready: model {model} {state['reason']}"
            yield Finding(url, "failed", detail, "see what the model server logs of it")


def _models(url: str, status: int, answer: dict[str, Any]) -> Iterator[Finding]:
    if status in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN):
        detail = f"/v1/models answers {status}: {answer.get('detail', '')}"
        yield Finding(url, "failed", detail, "give --api-key, or ROCKSTAR_API_KEY")
        return
    if status != http.HTTPStatus.OK:
        detail = f"/v1/models answers {status}: {answer.get('detail', '')}"
        yield Finding(url, "failed", detail, "see what the gateway logs of it")
        return
    for model in answer["models"]:
        versions = ", ".join(f"{each['version']} {each['state']}" for each in model["versions"])
        bad = [each["error"] for each in model["versions"] if each.get("error")]
        subject = f"{url} {model['model']}"
        if bad or not versions:
            detail = f"versions: {versions or 'none'}" + "".join(f"; {why}" for why in bad)
            yield Finding(subject, "failed", detail, "rockstar check says what its files lack")
        else:
            yield Finding(subject, "ok", f"versions: {versions}")


def _get(
    parts: SplitResult, tls: ssl.SSLContext | None, headers: Mapping[str, str], path: str
) -> tuple[int, dict[str, Any]]:
    """The status and the JSON object of an answer; an empty one where it is something else."""
    host, port = parts.hostname or "", parts.port
    connection = (
        http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
        if tls is None
        else http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=tls)
    )
    try:
        connection.request("GET", parts.path + path, headers=dict(headers))
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    return response.status, document if isinstance(document, dict) else {}


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
