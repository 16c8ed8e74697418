"""`rockstar check`."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rockstar_cli.failures import Exit
from rockstar_cli.options import ca_option, json_option
from rockstar_cli.output import echo_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rockstar_cli.checks import Finding

_COLORS = {"ok": "green", "failed": "red", "skipped": "yellow"}
_DEFAULT_MODELS = Path("models")


@click.command(
    epilog="Examples: rockstar check; rockstar check --url http://127.0.0.1:8080; "
    "rockstar check routes.toml --upstream 127.0.0.1:8500"
)
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option(
    "--models",
    type=click.Path(path_type=Path),
    help="Model folder.  [default: models, if nothing else is given]",
)
@click.option("--url", help="URL of a running gateway.")
@click.option("--api-key", envvar="ROCKSTAR_API_KEY", help="API key, if the gateway requires one.")
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
        models = _DEFAULT_MODELS
    found: list[Finding] = []
    for finding in _findings(file, models, url, api_key, ca, upstream):
        found.append(finding)
        if not as_json:
            _echo_finding(finding)
    failed = sum(finding.status == "failed" for finding in found)
    if as_json:
        echo_json({"ok": not failed, "checks": [*map(dataclasses.asdict, found)]})
    if failed:
        click.echo(f"{failed} of {len(found)} checks failed.", err=True)
        raise click.exceptions.Exit(Exit.FAILED)


def _findings(
    file: Path | None,
    models: Path | None,
    url: str | None,
    api_key: str | None,
    ca: Path | None,
    upstream: str | None,
) -> "Iterator[Finding]":
    if models is not None:
        from rockstar_cli.checks import check_models

        yield from check_models(models)
    if file is not None:
        from rockstar_cli.checks import check_routes, check_upstream

        findings, named = check_routes(file)
        yield from findings
        if upstream is not None:
            yield from check_upstream(upstream, named)
    if url is not None:
        from rockstar_cli.checks import check_service

        yield from check_service(url, api_key, ca)


def _echo_finding(finding: "Finding") -> None:
    status = click.style(f"{finding.status:8}", fg=_COLORS[finding.status])
    fix = f"; {finding.fix}" if finding.fix else ""
    line = f"{finding.subject}: {finding.detail}{fix}"
    click.echo(f"{status}{' '.join(line.split())}")
