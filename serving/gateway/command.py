"""The command that runs a gateway: `rockstar gateway` and `python -m serving.gateway`."""

import re
from collections.abc import Callable
from typing import Any

import click

from serving import logs
from serving.gateway.files import FilesError
from serving.gateway.server import GatewayServer
from serving.gateway.settings import SettingError, config_of, read_settings, settings, shown
from serving.gateway.traffic import keys

_METAVARS = {int: "N", float: "NUMBER", str: "TEXT"}


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command an option for every setting."""
    for setting in reversed(list(settings())):
        many = setting.base == tuple[str, ...]
        switch = setting.base is bool
        name = f"{setting.option}/--no-{setting.option[2:]}" if switch else setting.option
        command = click.option(
            name,
            setting.name,
            default=None,
            multiple=many,
            # Checked together with those of the environment, in read_settings.
            metavar=None if switch else _METAVARS.get(setting.base, "NAME"),
            type=None if switch else str,
            help=_help(setting.meta.description or "", setting.default, many),
        )(command)
    return command


def _help(description: str, default: Any, many: bool) -> str:
    if many:
        return f"{description}  Repeat it, or commas between."
    return description if default in ("", False) else f"{description}  [default: {default}]"


def _new_key(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise click.BadParameter(
            f"expected letters, digits, - and _, got {name!r}", None, None, "--make-key"
        )
    key, entry = keys.make_key(name)
    return (
        f"The key of {name}, which is shown only now:\n\n{key}\n\nFor the file of keys:\n\n{entry}"
    )


@click.command(epilog="Example: rockstar gateway --upstream 127.0.0.1:8500 --model cnn")
@_with_settings
@click.option("--print-config", is_flag=True, help="Print the settings in effect, and end.")
@click.option("--make-key", metavar="NAME", help="Print a new API key for NAME, and end.")
def gateway(print_config: bool, make_key: str | None, **options: Any) -> None:
    """Serve predictions over HTTP from a model server's gRPC API.

    Each option is also an environment variable: --max-pixels is ROCKSTAR_MAX_PIXELS. An option goes
    before a variable.
    """
    if make_key is not None:
        click.echo(_new_key(make_key))
        return
    try:
        effective = read_settings(options)
        if print_config:
            click.echo(shown(effective))
            return
        config = config_of(effective)
        logs.configure("json" if config.log_format == "json" else "text", "gateway")
        server = GatewayServer(config)
    except (SettingError, FilesError) as error:
        raise click.UsageError(str(error)) from error
    server.run()
