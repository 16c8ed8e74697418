"""Options that several commands have."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from commandline.names import Label, ModelName

if TYPE_CHECKING:
    from clients.tls import Tls

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
ca_option = click.option(
    "--ca",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificates (PEM) of the authority that vouches for the service, for TLS.",
)


@dataclass(frozen=True)
class Service:
    """Who is asked.

    Attributes:
        url: of a gateway.
        api_key: where it asks for one.
        ca: a PEM file of the authorities that may vouch for it; None: the usual ones, over gRPC
            plain text.
        grpc: address of a model server that is asked instead.
    """

    url: str
    api_key: str | None = None
    ca: Path | None = None
    grpc: str | None = None

    @property
    def tls(self) -> "Tls | None":
        """How to know it, where the options say."""
        from clients.tls import Tls

        return None if self.ca is None else Tls(self.ca)


def gateway_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of a command that asks a gateway, given to it as `service`."""

    @functools.wraps(command)
    def collected(
        *, url: str, api_key: str | None, ca: Path | None, grpc: str | None = None, **others: Any
    ) -> Any:
        if ca is not None and grpc is None and url.startswith("http://"):
            raise click.UsageError(f"--ca goes with https://, not with {url}.")
        return command(service=Service(url, api_key, ca, grpc), **others)

    options = (
        click.option("--url", default=DEFAULT_URL, envvar="ROCKSTAR_URL", help="The gateway."),
        click.option(
            "--api-key", envvar="ROCKSTAR_API_KEY", help="Where the service asks for one."
        ),
        ca_option,
    )
    for option in reversed(options):
        collected = option(collected)
    return collected


def service_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same of a command that asks a model server just as well."""
    grpc = click.option(
        "--grpc",
        metavar="HOST:PORT",
        help="Ask this TensorFlow Serving directly instead; with --ca over TLS.",
    )
    return gateway_options(grpc(command))


def model_option(help_text: str, **settings: Any) -> Callable[[Command], Command]:
    """The option --model, completed from the model folder."""
    return click.option("--model", type=ModelName(), help=help_text, **settings)
