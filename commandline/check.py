"""`rockstar check`."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from commandline.exits import Exit
from commandline.options import ca_option, json_option
from commandline.output import echo_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from commandline.checks.finding import Finding

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
    help="A model folder.  [default: models, where nothing else is named]",
)
@click.option("--url", help="A running gateway.")
@click.option("--api-key", envvar="ROCKSTAR_API_KEY", help="Where the gateway asks for one.")
@ca_option
@click.option(
    "--upstream", metavar="HOST:PORT", help="A model server: has it what the routes FILE names?"
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

    Of models, every version: its manifest, its contract, whether LiteRT loads it, and where labels
    point. Ends with status 1 where anything is not right.
    """
    if upstream is not None and file is None:
        raise click.UsageError("--upstream needs a routes FILE: what it names is asked for")
    if models is None and file is None and url is None:
        models = _DEFAULT_MODELS
    found: list[Finding] = []
    for finding in _findings(file, models, url, api_key, ca, upstream):
        found.append(finding)
        if not as_json:
            _say(finding)
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
        from commandline.checks.models import check_models

        yield from check_models(models)
    if file is not None:
        from commandline.checks.routes import check_routes, check_upstream

        findings, named = check_routes(file)
        yield from findings
        if upstream is not None:
            yield from check_upstream(upstream, named)
    if url is not None:
        from commandline.checks.service import check_service

        yield from check_service(url, api_key, ca)


def _say(finding: "Finding") -> None:
    status = click.style(f"{finding.status:8}", fg=_COLORS[finding.status])
    fix = f"; {finding.fix}" if finding.fix else ""
    line = f"{finding.subject}: {finding.detail}{fix}"
    click.echo(f"{status}{' '.join(line.split())}")
