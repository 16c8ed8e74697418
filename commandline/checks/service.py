"""A running gateway: whether it lives, is ready, and which versions it serves."""

import contextlib
import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import SplitResult, urlsplit

from commandline.checks.finding import Finding
from commandline.options import DEFAULT_URL
from serving.errors import InvalidInputError

_TIMEOUT_S = 10.0
_START = "start one with rockstar serve, or name another --url"
_NO_GATEWAY = "that is no RockstarTF gateway: name another --url"


def check_service(url: str, api_key: str | None = None) -> Iterator[Finding]:
    """`/livez`, `/readyz` and the models of a gateway.

    Raises:
        InvalidInputError: it is no URL of HTTP.
    """
    parts = _parsed(url)
    try:
        status, answer = _get(parts, "/livez", api_key)
    except (OSError, http.client.HTTPException) as error:
        yield Finding(url, "failed", f"/livez: {_why(error)}", _START)
        return
    if answer.get("status") != "alive":
        yield Finding(url, "failed", f"/livez answers {status}", _NO_GATEWAY)
        return
    yield Finding(url, "ok", "alive")
    try:
        yield from _ready(url, *_get(parts, "/readyz", api_key))
        yield from _models(url, *_get(parts, "/v1/models", api_key))
    except (OSError, http.client.HTTPException) as error:
        yield Finding(url, "failed", f"stopped answering: {_why(error)}", _START)


def _parsed(url: str) -> SplitResult:
    parts = urlsplit(url)
    with contextlib.suppress(ValueError):  # of a port that is no number
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    raise InvalidInputError(
        "--url",
        expected="http://HOST:PORT or https://…",
        got=repr(url),
        hint=f"such as {DEFAULT_URL}",
    )


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


def _get(parts: SplitResult, path: str, api_key: str | None) -> tuple[int, dict[str, Any]]:
    """The status and the JSON object of an answer; an empty one where it is something else."""
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_TIMEOUT_S)
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        connection.request("GET", parts.path.rstrip("/") + path, headers=headers)
        response = connection.getresponse()
        document = json.loads(response.read())
    except ValueError:
        document = None
    finally:
        connection.close()
    return response.status, document if isinstance(document, dict) else {}


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
