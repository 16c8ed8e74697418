"""`rockstar export`: a model as one HTML file that runs it in any browser, offline."""

from pathlib import Path

import click

from rockstar_cli.options import MODEL, VersionNumber, json_option, models_option
from rockstar_cli.output import echo_json


@click.command(epilog="Example: rockstar export cnn --html demo.html")
@click.argument("model", type=MODEL)
@click.option(
    "--html",
    required=True,
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The HTML file to write; an existing one is replaced.",
)
@click.option("--version", type=VersionNumber(1), help="Version.  [default: the newest served]")
@models_option
@json_option
def export(model: str, html: Path, version: int | None, models: Path, as_json: bool) -> None:
    """Write MODEL, a classifier of images, as one HTML file to open or to send.

    The page contains the model, LiteRT for browsers, and a drawing area. It opens with a double
    click, works offline, and sends nothing.
    """
    from rockstar_serving.registry import RegistryError, list_versions
    from rockstar_serving.standalone_page import standalone_page

    versions = list_versions(models, model)
    found = [
        each
        for each in versions
        if (each.number == version if version is not None else not each.held)
    ]
    if not found:
        has = ", ".join(
            f"{each.number} (held)" if each.held else str(each.number) for each in versions
        )
        wanted = "served version" if version is None else f"version {version}"
        raise RegistryError(f"{model} has no {wanted}; it has the versions {has}")
    chosen = found[-1]
    html.write_text(standalone_page(chosen.folder), encoding="utf-8")
    size = html.stat().st_size
    if as_json:
        echo_json({"model": model, "version": chosen.number, "file": str(html), "bytes": size})
    else:
        click.echo(
            f"{model} version {chosen.number}: {html} ({size / 1e6:.1f} MB), open it in any browser"
        )
