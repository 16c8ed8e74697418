"""`rockstar check`."""

from collections.abc import Iterator
from pathlib import Path

import click

from clients.errors import CallError
from clients.tfserving import TFServingClient
from serving.gateway.traffic.routes import Route, Routes, RoutesError, read_routes


@click.command(epilog="Example: rockstar check routes.toml --upstream 127.0.0.1:8500")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--upstream", metavar="HOST:PORT", help="Ask this model server for what is named.")
def check(file: Path, upstream: str | None) -> None:
    """Check a routes FILE of the gateway, and say what it does.

    Ends with status 1 where it cannot be used or, with --upstream, where it leads to something that
    does not answer.
    """
    try:
        routes = read_routes(file)
    except RoutesError as error:
        raise click.ClickException(str(error)) from error
    click.echo("\n".join(_sentences(routes)) or f"{file} has no routes.")
    missing = [] if upstream is None else list(_missing(routes, upstream))
    if missing:
        raise click.ClickException("; ".join(missing))


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


def _missing(routes: Routes, upstream: str) -> Iterator[str]:
    """What is named and does not answer."""
    named = [(alias.model, alias.version, alias.label) for alias in routes.aliases.values()]
    for model, route in routes.models.items():
        targets = [*route.split, *([route.shadow] if route.shadow else [])]
        named += [(model, target.version, target.label) for target in targets] or [
            (model, None, None)
        ]
    with TFServingClient(upstream) as server:
        for model, version, label in dict.fromkeys(named):
            try:
                server.metadata(model, version, label=label)
            except CallError as error:
                yield f"{_called(model, version, label)} does not answer: {error}"


def _called(model: str, version: int | None, label: str | None) -> str:
    if version is not None:
        return f"{model} version {version}"
    return model if label is None else f"{model} label {label}"
