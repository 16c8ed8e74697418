"""Options that several commands have."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from commandline.names import Label, ModelName

DEFAULT_URL = "http://127.0.0.1:8080"

Command = TypeVar("Command", bound=Callable[..., Any])


class NumberRange(click.FloatRange):
    """A number in a range: NaN, which is neither below nor above anything, is in none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number that a text says."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


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
