"""The command that runs a gateway: `rockstar gateway` and `python -m rockstar_serving.gateway`."""

import json
import logging
import re
from collections.abc import Callable
from typing import Any

import click

from rockstar_serving import ServeError, logs
from rockstar_serving.gateway.settings import (
    GatewayConfig,
    command_option,
    config_of,
    documents,
    read_settings,
    settings,
    shown,
)
from rockstar_serving.listening import is_local, require_free
from rockstar_serving.options import SettingError, as_text

log = logging.getLogger(__name__)


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option for every setting to a command."""
    for setting in reversed(settings()):
        switch, several = isinstance(setting.default, bool), isinstance(setting.default, tuple)
        name, default = command_option(setting), as_text(setting.default)
        text = setting.help
        if several:
            text += "  Repeat it, or separate names with commas."
        if default not in ("", "false"):
            text += f"  [default: {default}]"
        command = click.option(
            f"{name}/--no-{name[2:]}" if switch else name,
            setting.name,
            default=None,
            multiple=several,
            # Parsed in read_settings, together with the environment variables.
            metavar=None if switch else setting.values.unit,
            type=None if switch else str,
            help=text,
        )(command)
    return command


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


class _InvalidSettingError(click.ClickException):
    """Like a UsageError without the usage, which users of `rockstar serve` do not call."""

    exit_code = click.UsageError.exit_code


@click.command(epilog="Example: rockstar gateway --upstream 127.0.0.1:8500 --model cnn")
@_with_settings
@click.option("--print-config", is_flag=True, help="Print the settings in effect, and end.")
@click.option("--make-key", metavar="NAME", help="Print a new API key for NAME, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print the address, key or settings as JSON.")
def gateway(print_config: bool, make_key: str | None, as_json: bool, **options: Any) -> None:
    """Serve predictions over HTTP from a model server's gRPC API.

    Each option is also an environment variable: --max-pixels is ROCKSTAR_MAX_PIXELS. Options
    override variables.
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
        _serve(config_of(effective), as_json)
    except SettingError as error:
        raise _InvalidSettingError(str(error)) from error
    except ServeError as error:
        raise click.ClickException(str(error)) from error


def _serve(config: GatewayConfig, as_json: bool) -> None:
    host, _, port = config.bind.rpartition(":")
    if port.isdecimal() and not config.bind.startswith(("unix:", "fd://")):
        # gunicorn would retry a taken port for seconds.
        require_free(host.strip("[]"), int(port), "--bind")

    def print_address(address: str) -> None:
        """Print one line when the server listens; the first requests wait for the workers."""
        document = {"http": address, "upstream": config.upstream, "models": config.models}
        click.echo(json.dumps(document))

    logs.configure("json" if config.log_format == "json" else "text", "gateway")
    # Not needed for --help, and slow to import.
    from rockstar_serving.gateway.lifecycle import Lifecycle

    lifecycle = Lifecycle(config, print_address if as_json else None)
    if not lifecycle.files.keys and not is_local(config.bind):
        log.warning(
            "there are no API keys: anyone who reaches %s can use it; see --make-key", config.bind
        )
    if config.server == "granian":
        from rockstar_serving.gateway.granian_server import GranianServer

        GranianServer(config, lifecycle).run()
    else:
        from rockstar_serving.gateway.server import GatewayServer

        GatewayServer(config, lifecycle).run()
