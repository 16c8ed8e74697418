"""The command that runs a gateway: `rockstar gateway` and `python -m rockstar_serving.gateway`."""

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from rockstar_serving import logs
from rockstar_serving.gateway.settings import (
    SettingError,
    config_of,
    documents,
    read_settings,
    settings,
    shown,
)
from rockstar_serving.listening import require_free
from rockstar_serving.supervisor import ServeError

if TYPE_CHECKING:
    from rockstar_serving.gateway.server import GatewayServer
    from rockstar_serving.gateway.settings import GatewayConfig

_METAVARS = {int: "N", float: "NUMBER", str: "TEXT"}


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option for every setting to a command."""
    for setting in reversed(list(settings())):
        many = setting.base == tuple[str, ...]
        switch = setting.base is bool
        name = f"{setting.option}/--no-{setting.option[2:]}" if switch else setting.option
        command = click.option(
            name,
            setting.name,
            default=None,
            multiple=many,
            # Validated in read_settings, together with the environment variables.
            metavar=None if switch else _METAVARS.get(setting.base, "NAME"),
            type=None if switch else str,
            help=_help(setting.meta.description or "", setting.default, many),
        )(command)
    return command


def _help(description: str, default: Any, many: bool) -> str:
    if many:
        shown = f"  [default: {', '.join(default)}]" if default else ""
        return f"{description}  Repeat it, or commas between.{shown}"
    return description if default in ("", False) else f"{description}  [default: {default}]"


def _print_new_key(name: str, as_json: bool) -> None:
    from rockstar_serving.gateway.api_keys import make_key

    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise click.BadParameter(
            f"expected letters, digits, - and _, got {name!r}", None, None, "--make-key"
        )
    key, entry, word = make_key(name)
    if as_json:
        click.echo(json.dumps({"name": name, "key": key, "entry": entry}))
        return
    click.echo(
        f"The key of {name}, which is shown only now:\n\n{key}\n\nFor the file of keys:\n\n{entry}"
        f"\n\nOr for ROCKSTAR_API_KEYS:\n\n{word}"
    )


@click.command(epilog="Example: rockstar gateway --upstream 127.0.0.1:8500 --model cnn")
@_with_settings
@click.option("--print-config", is_flag=True, help="Print the settings in effect, and end.")
@click.option("--make-key", metavar="NAME", help="Print a new API key for NAME, and end.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the address, or what is asked, as JSON."
)
def gateway(print_config: bool, make_key: str | None, as_json: bool, **options: Any) -> None:
    """Serve predictions over HTTP from a model server's gRPC API.

    Each option is also an environment variable: --max-pixels is ROCKSTAR_MAX_PIXELS. An option goes
    before a variable.
    """
    if make_key is not None:
        _print_new_key(make_key, as_json)
        return
    try:
        effective = read_settings(options)
        if print_config:
            click.echo(
                json.dumps({"settings": documents(effective)}) if as_json else shown(effective)
            )
            return
        server = _server(config_of(effective), as_json)
    except SettingError as error:
        raise click.UsageError(str(error)) from error
    server.run()


def _server(config: "GatewayConfig", as_json: bool) -> "GatewayServer":
    host, _, port = config.bind.rpartition(":")
    if port.isdecimal() and not config.bind.startswith(("unix:", "fd://")):
        # gunicorn would retry a taken port for seconds.
        try:
            require_free(host.strip("[]"), int(port), "--bind")
        except ServeError as error:
            raise click.ClickException(str(error)) from error

    def print_address(address: str) -> None:
        """Print one line when the server listens; the first requests wait for the workers."""
        document = {"http": address, "upstream": config.upstream, "models": config.models}
        click.echo(json.dumps(document))

    # Not needed for --help, and slow to import.
    from rockstar_serving.gateway.server import GatewayServer
    from rockstar_serving.gateway.settings import FilesError

    logs.configure("json" if config.log_format == "json" else "text", "gateway")
    try:
        return GatewayServer(config, print_address if as_json else None)
    except FilesError as error:
        raise SettingError(str(error)) from error
