"""Checks of model folders, routes files and running gateways."""

import http.client
import json
import ssl
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import SplitResult, urlsplit

from rockstar_client.endpoint import Endpoint, Tls, fixed_headers
from rockstar_client.errors import CallError
from rockstar_client.tfserving import TFServingClient
from rockstar_serving.gateway.routes_file import Route, Routes, RoutesError, read_routes
from rockstar_serving.model_folder import ModelFolderError
from rockstar_serving.model_server.engines.engine import LoadError
from rockstar_serving.model_server.engines.litert import RUNTIME
from rockstar_serving.model_server.options import EngineOptions
from rockstar_serving.registry import Verdict, Version, dangling_labels, list_versions, verify

Status = Literal["ok", "failed", "skipped"]


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        subject: what was checked, such as "cnn/3" or a file.
        status: "skipped" if it could not be checked.
        detail: what was found.
        fix: how to fix it, or an empty string.
    """

    subject: str
    status: Status
    detail: str
    fix: str = ""


_COPY_AGAIN = (
    "copy it again from where it was published, or publish it with rockstar train or import"
)


def check_models(models: Path) -> Iterator[Finding]:
    """Check every version of every model in a folder, and the labels."""
    try:
        versions = list_versions(models)
        verdicts = {(each.model, each.number): each for each in verify(models)}
        dangling = dangling_labels(models)
    except ModelFolderError as error:
        what, _, fix = str(error).partition("; ")
        yield Finding(str(models), "failed", what, fix)
        return
    for version in versions:
        yield _check(version, verdicts[version.model, version.number])
    for sentence in dangling:
        yield Finding("labels", "failed", sentence, "rockstar promote points a label elsewhere")


def _check(version: Version, verdict: Verdict) -> Finding:
    subject = f"{version.model}/{version.number}"
    # Never load files that differ from what was published.
    if verdict.problem:
        return Finding(subject, "failed", verdict.problem, _COPY_AGAIN)
    if version.problem:
        return Finding(
            subject, "failed", version.problem, "publish it with rockstar train or import"
        )
    if RUNTIME.file_in(version.folder) is None:
        return _without_litert(version, verdict.files)
    if not RUNTIME.installed:
        detail = (
            f"manifest and contract; {RUNTIME.name} is not installed to load {RUNTIME.files[0]}"
        )
        return Finding(subject, "skipped", detail, RUNTIME.install)
    try:
        engine = RUNTIME.load(version.folder, EngineOptions(prefer_tflite=True))
    except LoadError as error:
        return Finding(subject, "failed", str(error), _COPY_AGAIN)
    signatures = len(engine.signatures)
    engine.close()
    detail = f"{verdict.files} files as published, contract, {signatures} signatures load"
    return Finding(subject, "ok", detail + _labels(version))


def _without_litert(version: Version, files: int) -> Finding:
    """Check a version without a LiteRT file: an imported model that only TensorFlow can run."""
    subject = f"{version.model}/{version.number}"
    if not (version.folder / "saved_model.pb").is_file():
        return Finding(subject, "failed", f"no {RUNTIME.files[0]}", RUNTIME.export)
    detail = f"{files} files as published, contract, no {RUNTIME.files[0]}: needs TensorFlow"
    return Finding(subject, "ok", detail + _labels(version))


def _labels(version: Version) -> str:
    return f", labels {', '.join(version.labels)}" if version.labels else ""


Named = tuple[str, int | None, str | None]


def check_routes(file: Path) -> tuple[list[Finding], list[Named]]:
    """Check a routes file; also returns the models, versions and labels that it names."""
    try:
        routes = read_routes(file)
    except RoutesError as error:
        return [Finding(str(file), "failed", str(error), "docs/gateway.md shows an example")], []
    findings = [Finding(str(file), "ok", sentence) for sentence in _sentences(routes)]
    return findings or [Finding(str(file), "ok", "has no routes")], [*_named(routes)]


def check_upstream(upstream: str, named: Iterable[Named]) -> Iterator[Finding]:
    """Check that a model server has the models, versions and labels."""
    with TFServingClient(upstream) as server:
        for model, version, label in dict.fromkeys(named):
            name = _display_name(model, version, label)
            try:
                found = server.metadata(model, version, label=label)
            except CallError as error:
                yield Finding(
                    upstream,
                    "failed",
                    f"{name} does not answer: {error}",
                    "load it there, or name another --upstream",
                )
            else:
                yield Finding(upstream, "ok", f"{name} answers, version {found.version}")


def _sentences(routes: Routes) -> Iterator[str]:
    for name, alias in routes.aliases.items():
        yield f"{name} is another name of {_display_name(alias.model, alias.version, alias.label)}"
    for model, route in routes.models.items():
        yield from _of_model(model, route)


def _of_model(model: str, route: Route) -> Iterator[str]:
    total = sum(arm.weight for arm in route.split)
    if route.split:
        shares = ", ".join(f"{arm} {arm.weight / total:.1%}" for arm in route.split)
        stuck = f", the same for the same {route.sticky}" if route.sticky else ""
        yield f"{model}: {shares}{stuck}"
    if route.shadow is not None:
        yield f"{model}: copies of {route.shadow.share:.1%} go to {route.shadow}"
    if route.max_batch is not None:
        yield f"{model}: at most {route.max_batch} examples of several requests in one call"


def _named(routes: Routes) -> Iterator[Named]:
    for alias in routes.aliases.values():
        yield alias.model, alias.version, alias.label
    for model, route in routes.models.items():
        targets = [*route.split, *([route.shadow] if route.shadow else [])]
        for target in targets:
            yield model, target.version, target.label
        if not targets:
            yield model, None, None


def _display_name(model: str, version: int | None, label: str | None) -> str:
    if version is not None:
        return f"{model} version {version}"
    return model if label is None else f"{model} label {label}"


_TIMEOUT_S = 10.0
_START = "start one with rockstar serve, or give another --url"
_NAME_CA = "give its CA certificate with --ca"
_NO_GATEWAY = "this is not a RockstarTF gateway: give another --url"


def check_service(
    url: str, api_key: str | None = None, ca: Path | None = None
) -> Iterator[Finding]:
    """Check `/livez`, `/readyz` and the models of a gateway.

    Raises:
        InvalidInputError: not an HTTP URL, the key does not fit in a header, or `ca` is not PEM.
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
            yield Finding(url, "failed", detail, "see the log of the model server")


def _models(url: str, status: int, answer: dict[str, Any]) -> Iterator[Finding]:
    if status in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN):
        detail = f"/v1/models answers {status}: {answer.get('detail', '')}"
        yield Finding(url, "failed", detail, "give --api-key, or ROCKSTAR_API_KEY")
        return
    if status != http.HTTPStatus.OK:
        detail = f"/v1/models answers {status}: {answer.get('detail', '')}"
        yield Finding(url, "failed", detail, "see the log of the gateway")
        return
    for model in answer["models"]:
        versions = ", ".join(f"{each['version']} {each['state']}" for each in model["versions"])
        bad = [each["error"] for each in model["versions"] if each.get("error")]
        subject = f"{url} {model['model']}"
        if bad or not versions:
            detail = f"versions: {versions or 'none'}" + "".join(f"; {why}" for why in bad)
            yield Finding(subject, "failed", detail, "run rockstar check on its files")
        else:
            yield Finding(subject, "ok", f"versions: {versions}")


def _get(
    parts: SplitResult, tls: ssl.SSLContext | None, headers: Mapping[str, str], path: str
) -> tuple[int, dict[str, Any]]:
    """The status and the JSON object of a response; an empty object if it is not one."""
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
