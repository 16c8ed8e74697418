"""`rockstar check`: checks of model folders, routes files and running gateways."""

import dataclasses
import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import click

from rockstar_cli.options import DEFAULT_MODELS, api_key_option, ca_option, json_option
from rockstar_cli.output import Exit, echo_json

if TYPE_CHECKING:
    from rockstar_serving.gateway.routes_file import Routes
    from rockstar_serving.registry import Verdict, Version

_COLORS = {"ok": "green", "failed": "red", "skipped": "yellow"}
_TIMEOUT_S = 10.0
_PUBLISH = "publish it with rockstar train or import"
_COPY_AGAIN = f"copy it again from where it was published, or {_PUBLISH}"
_START = "start one with rockstar serve, or give another --url"

# A model, and its version or label if a route names one.
Named = tuple[str, int | None, str | None]


@dataclass(frozen=True)
class Finding:
    """Result of one check."""

    subject: str  # such as "cnn/3" or a file
    status: Literal["ok", "failed", "skipped"]  # skipped if it could not be checked
    detail: str
    fix: str = ""  # how to fix it


@click.command(
    epilog="\b\nExamples:\n  rockstar check\n  rockstar check --url http://127.0.0.1:8080\n"
    "  rockstar check routes.toml --upstream 127.0.0.1:8500"
)
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option(
    "--models",
    type=click.Path(path_type=Path),
    help="Model folder.  [default: models, if nothing else is given]",
)
@click.option("--url", help="URL of a running gateway.")
@api_key_option
@ca_option
@click.option(
    "--upstream",
    metavar="HOST:PORT",
    help="Model server that must have what the routes FILE names.",
)
@json_option
def check(
    file: Path | None,
    models: Path | None,
    url: str | None,
    api_key: str | None,
    ca: Path | None,
    upstream: str | None,
    as_json: bool,
) -> None:
    """Check a model folder, a routes FILE of the gateway and a running service.

    For models, checks every version: manifest, contract, whether LiteRT loads it, and labels. Exits
    with status 1 if a check fails.
    """
    if upstream is not None and file is None:
        raise click.UsageError("--upstream needs a routes FILE with the models to look for")
    if models is None and file is None and url is None:
        models = Path(DEFAULT_MODELS)

    def findings() -> Iterator[Finding]:
        if models is not None:
            yield from check_models(models)
        if file is not None:
            yield from check_routes(file, upstream)
        if url is not None:
            yield from check_service(url, api_key, ca)

    found: list[Finding] = []
    for finding in findings():
        found.append(finding)
        if not as_json:
            status = click.style(f"{finding.status:8}", fg=_COLORS[finding.status])
            fix = f"; {finding.fix}" if finding.fix else ""
            line = f"{finding.subject}: {finding.detail}{fix}"
            click.echo(f"{status}{' '.join(line.split())}")
    failed = sum(finding.status == "failed" for finding in found)
    if as_json:
        echo_json({"ok": not failed, "checks": [*map(dataclasses.asdict, found)]})
    if failed:
        click.echo(f"{failed} of {len(found)} checks failed.", err=True)
        raise click.exceptions.Exit(Exit.FAILED)


def check_models(models: Path) -> Iterator[Finding]:
    """Check every version of every model in a folder, and the labels."""
    from rockstar_serving.model_folder import ModelFolderError
    from rockstar_serving.registry import dangling_labels, list_versions, verify

    try:
        versions = list_versions(models)
        verdicts = {(each.model, each.number): each for each in verify(models)}
        dangling = dangling_labels(models)
    except ModelFolderError as error:
        what, _, fix = str(error).partition("; ")
        yield Finding(str(models), "failed", what, fix)
        return
    for version in versions:
        yield _check_version(version, verdicts[version.model, version.number])
    for sentence in dangling:
        yield Finding("labels", "failed", sentence, "rockstar promote points a label elsewhere")


def _check_version(version: "Version", verdict: "Verdict") -> Finding:
    from rockstar_serving.model_server.engines.engine import LoadError
    from rockstar_serving.model_server.engines.litert import RUNTIME
    from rockstar_serving.model_server.loading import load_verified
    from rockstar_serving.model_server.options import EngineOptions

    subject = f"{version.model}/{version.number}"
    # Never load files that differ from what was published.
    if verdict.problem:
        return Finding(subject, "failed", verdict.problem, _COPY_AGAIN)
    if version.problem:
        return Finding(subject, "failed", version.problem, _PUBLISH)
    file = RUNTIME.files[0]
    if RUNTIME.file_in(version.folder) is None:
        # An imported model that only TensorFlow can run has no LiteRT file.
        if not (version.folder / "saved_model.pb").is_file():
            return Finding(subject, "failed", f"no {file}", RUNTIME.export)
        loads = f"no {file}: needs TensorFlow"
    elif not RUNTIME.installed:
        detail = f"manifest and contract; {RUNTIME.name} is not installed to load {file}"
        return Finding(subject, "skipped", detail, RUNTIME.install)
    else:
        try:
            engine = load_verified(version.folder, RUNTIME, EngineOptions(prefer_tflite=True))
        except LoadError as error:
            return Finding(subject, "failed", str(error), _COPY_AGAIN)
        loads = f"{len(engine.signatures)} signatures load"
        engine.close()
    labels = f", labels {', '.join(version.labels)}" if version.labels else ""
    detail = f"{verdict.files} files as published, contract, {loads}{labels}"
    return Finding(subject, "ok", detail)


def check_routes(file: Path, upstream: str | None) -> Iterator[Finding]:
    """Check a routes file, and that a model server has the models, versions and labels in it."""
    from rockstar_client.backend import Query
    from rockstar_client.errors import CallError
    from rockstar_client.tfserving import TFServingClient
    from rockstar_serving.gateway.routes_file import read_routes
    from rockstar_serving.options import SettingError

    try:
        routes = read_routes(file)
    except SettingError as error:
        yield Finding(str(file), "failed", str(error), "docs/gateway.md shows an example")
        return
    for sentence in [*_sentences(routes)] or ["has no routes"]:
        yield Finding(str(file), "ok", sentence)
    if upstream is None:
        return
    with TFServingClient(upstream) as server:
        for model, version, label in dict.fromkeys(_named(routes)):
            name = _display_name(model, version, label)
            try:
                found = server.metadata(Query(model, version=version, label=label))
            except CallError as error:
                fix = "load it there, or name another --upstream"
                yield Finding(upstream, "failed", f"{name} does not answer: {error}", fix)
            else:
                yield Finding(upstream, "ok", f"{name} answers, version {found.version}")


def _sentences(routes: "Routes") -> Iterator[str]:
    for name, alias in routes.aliases.items():
        yield f"{name} is another name of {_display_name(alias.model, alias.version, alias.label)}"
    for model, route in routes.models.items():
        if route.split:
            total = sum(arm.weight for arm in route.split)
            shares = ", ".join(f"{arm} {arm.weight / total:.1%}" for arm in route.split)
            stuck = f", the same for the same {route.sticky}" if route.sticky else ""
            yield f"{model}: {shares}{stuck}"
        if route.shadow is not None:
            yield f"{model}: copies of {route.shadow.share:.1%} go to {route.shadow}"
        if route.max_batch is not None:
            yield f"{model}: at most {route.max_batch} examples of several requests in one call"


def _named(routes: "Routes") -> Iterable[Named]:
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


def check_service(url: str, api_key: str | None, ca: Path | None) -> Iterator[Finding]:
    """Check `/livez`, `/readyz` and the models of a gateway.

    An InvalidInputError for another URL, a key that does not fit in a header, or `ca` without PEM.
    """
    import http.client
    import ssl

    from rockstar_client.endpoint import Endpoint, Tls, fixed_headers

    endpoint = Endpoint.of(url, None if ca is None else Tls(ca))
    parts, headers = urlsplit(endpoint.url), fixed_headers(api_key, None)
    tls = None if endpoint.tls is None else endpoint.tls.context()
    host, port = parts.hostname or "", parts.port

    def get(path: str) -> tuple[int, dict[str, Any]]:
        """Return the status and the JSON object of a response; {} if it is not an object."""
        connection = (
            http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
            if tls is None
            else http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=tls)
        )
        with closing(connection):
            connection.request("GET", parts.path + path, headers=headers)
            response = connection.getresponse()
            body = response.read()
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        return response.status, document if isinstance(document, dict) else {}

    def why(error: Exception) -> str:
        return getattr(error, "strerror", None) or str(error) or type(error).__name__

    try:
        status, answer = get("/livez")
    except (OSError, http.client.HTTPException) as error:
        untrusted = isinstance(error, ssl.SSLCertVerificationError)
        fix = "give its CA certificate with --ca" if untrusted else _START
        yield Finding(url, "failed", f"/livez: {why(error)}", fix)
        return
    if answer.get("status") != "alive":
        fix = "this is not a RockstarTF gateway: give another --url"
        yield Finding(url, "failed", f"/livez answers {status}", fix)
        return
    yield Finding(url, "ok", "alive")
    try:
        yield from _check_ready(url, *get("/readyz"))
        yield from _check_listed(url, *get("/v1/models"))
    except (OSError, http.client.HTTPException) as error:
        yield Finding(url, "failed", f"stopped answering: {why(error)}", _START)


def _check_ready(url: str, status: int, answer: dict[str, Any]) -> Iterator[Finding]:
    models = answer.get("models", {})
    if status == 200:
        yield Finding(url, "ok", f"ready: {', '.join(models)}" if models else "ready")
        return
    if not models:
        yield Finding(url, "failed", f"not ready: {answer.get('status', status)}", "try again")
    for model, state in models.items():
        if not state["ready"]:
            detail = f"not ready: model {model} {state['reason']}"
            yield Finding(url, "failed", detail, "see the log of the model server")


def _check_listed(url: str, status: int, answer: dict[str, Any]) -> Iterator[Finding]:
    if status != 200:
        key = status in (401, 403)
        fix = "give --api-key, or ROCKSTAR_API_KEY" if key else "see the log of the gateway"
        detail = f"/v1/models answers {status}: {answer.get('detail', '').rstrip('.')}"
        yield Finding(url, "failed", detail, fix)
        return
    for model in answer["models"]:
        versions = ", ".join(f"{each['version']} {each['state']}" for each in model["versions"])
        errors = [each["error"] for each in model["versions"] if each.get("error")]
        subject = f"{url} {model['model']}"
        if errors or not versions:
            detail = "; ".join([f"versions: {versions or 'none'}", *errors])
            yield Finding(subject, "failed", detail, "run rockstar check on its files")
        else:
            yield Finding(subject, "ok", f"versions: {versions}")
