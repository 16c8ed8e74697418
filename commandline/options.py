"""Options that several commands have."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from commandline.names import Label, ModelName

DEFAULT_URL = "http://127.0.0.1:8080"

Command = TypeVar("Command", bound=Callable[..., Any])

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the result as one line of JSON."
)
models_option = click.option(
    "--models", default="models", type=click.Path(path_type=Path), help="Model folder."
)
label_option = click.option(
    "--label", default="stable", type=Label(), help="Usually stable or canary."
)


def gateway_options(command: Command) -> Command:
    """Options of a command that asks a gateway: --url and --api-key."""
    key = click.option(
        "--api-key", envvar="ROCKSTAR_API_KEY", help="Where the gateway asks for one."
    )
    return click.option("--url", default=DEFAULT_URL, help="The gateway.")(key(command))


def model_option(help_text: str, **settings: Any) -> Callable[[Command], Command]:
    """The option --model, completed from the model folder."""
    return click.option("--model", type=ModelName(), help=help_text, **settings)
