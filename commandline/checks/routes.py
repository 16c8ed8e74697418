"""A routes file of the gateway: what it says, and whether a model server has what it names."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from clients.errors import CallError
from clients.tfserving import TFServingClient
from commandline.checks.finding import Finding
from serving.gateway.traffic.routes import Route, Routes, RoutesError, read_routes

Named = tuple[str, int | None, str | None]


def check_routes(file: Path) -> tuple[list[Finding], list[Named]]:
    """What a routes file says, and the models, versions and labels that it names."""
    try:
        routes = read_routes(file)
    except RoutesError as error:
        return [Finding(str(file), "failed", str(error), "docs/gateway.md shows such a file")], []
    findings = [Finding(str(file), "ok", sentence) for sentence in _sentences(routes)]
    return findings or [Finding(str(file), "ok", "has no routes")], [*_named(routes)]


def check_upstream(upstream: str, named: Iterable[Named]) -> Iterator[Finding]:
    """Whether a model server answers for what is named."""
    with TFServingClient(upstream) as server:
        for model, version, label in dict.fromkeys(named):
            called = _called(model, version, label)
            try:
                found = server.metadata(model, version, label=label)
            except CallError as error:
                yield Finding(
                    upstream,
                    "failed",
                    f"{called} does not answer: {error}",
                    "load it there, or name another --upstream",
                )
            else:
                yield Finding(upstream, "ok", f"{called} answers, version {found.version}")


def _sentences(routes: Routes) -> Iterator[str]:
    for name, alias in routes.aliases.items():
        yield f"{name} is another name of {_called(alias.model, alias.version, alias.label)}"
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


def _called(model: str, version: int | None, label: str | None) -> str:
    if version is not None:
        return f"{model} version {version}"
    return model if label is None else f"{model} label {label}"
