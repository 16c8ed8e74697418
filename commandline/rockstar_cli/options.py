"""Options and types of arguments that several commands share."""

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from rockstar_client.endpoint import Tls


_FOLDER = "models"
_LABELS = ("stable", "canary")


class _Completed(ABC):
    """A parameter type with shell completion from known names."""

    @abstractmethod
    def names(self, ctx: click.Context, incomplete: str) -> Iterable[str]:
        """The candidates."""

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem[str]]:
        """The candidates that start with what was typed."""
        names = self.names(ctx, incomplete)
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


class ModelName(_Completed, click.ParamType[str]):
    """The name of a model."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name as given; the service or folder checks whether the model exists."""
        if not value:
            self.fail("expected a name, got an empty text.", param, ctx)
        return str(value)

    def names(self, ctx: click.Context, incomplete: str) -> Iterable[str]:  # noqa: ARG002
        """The models in the folder."""
        return _models(ctx)


class ModelAndVersion(ModelName):
    """MODEL or MODEL/VERSION."""

    name = "model[/version]"

    def names(self, ctx: click.Context, incomplete: str) -> Iterable[str]:
        """The models, or after a / the versions."""
        model, slash, _ = incomplete.partition("/")
        return [f"{model}/{each}" for each in _versions(ctx, model)] if slash else _models(ctx)


class VersionNumber(_Completed, click.IntRange):
    """The number of a version of the model that the command line names."""

    name = "version"

    def names(self, ctx: click.Context, incomplete: str) -> Iterable[str]:  # noqa: ARG002
        """The versions of that model."""
        return map(str, _versions(ctx, ctx.params.get("model")))


class Label(ModelName):
    """A label."""

    name = "label"

    def names(self, ctx: click.Context, incomplete: str) -> Iterable[str]:  # noqa: ARG002
        """The usual labels and those of the model."""
        return dict.fromkeys([*_LABELS, *_labels(ctx)])


def _folder(ctx: click.Context) -> Path:
    return Path(ctx.params.get("models") or _FOLDER)


def _models(ctx: click.Context) -> list[str]:
    from rockstar_serving.model_folder import ModelFolderError, find_models

    try:
        return list(find_models(_folder(ctx)))
    except ModelFolderError:
        return []


def _versions(ctx: click.Context, model: str | None) -> list[int]:
    from rockstar_contract.version_folders import held_versions, served_versions

    try:
        if not model:
            return []
        base = _folder(ctx) / model
        return sorted({*served_versions(base), *held_versions(base)}, reverse=True)
    except OSError:
        return []


def _labels(ctx: click.Context) -> list[str]:
    from rockstar_serving.model_folder import ModelFolderError
    from rockstar_serving.models_config import read_labels

    try:
        assigned = read_labels(_folder(ctx))
    except ModelFolderError:
        return []
    # While an option value is completed, click does not pass the arguments.
    model = ctx.params.get("model")
    models = [model] if model else _models(ctx)
    return [label for name in models for label in assigned.labels(name)]


DEFAULT_URL = "http://127.0.0.1:8080"

Command = TypeVar("Command", bound=Callable[..., Any])


class NumberRange(click.FloatRange):
    """A number in a range; rejects NaN, which click.FloatRange accepts."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Parse the number."""
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
    help="CA certificates (PEM) to verify the service with, for TLS.",
)


@dataclass(frozen=True)
class Service:
    """The service that a command calls.

    Attributes:
        url: of a gateway.
        api_key: if the gateway requires one.
        ca: PEM file with CA certificates; None uses the system's, and plain text for gRPC.
        grpc: address of a model server to call instead.
    """

    url: str
    api_key: str | None = None
    ca: Path | None = None
    grpc: str | None = None

    @property
    def tls(self) -> "Tls | None":
        """TLS settings, if --ca is given."""
        from rockstar_client.endpoint import Tls

        return None if self.ca is None else Tls(self.ca)


def gateway_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a command that calls a gateway; it gets them as `service`."""

    @functools.wraps(command)
    def collected(
        *, url: str, api_key: str | None, ca: Path | None, grpc: str | None = None, **others: Any
    ) -> Any:
        if ca is not None and grpc is None and url.startswith("http://"):
            raise click.UsageError(f"--ca goes with https://, not with {url}.")
        return command(service=Service(url, api_key, ca, grpc), **others)

    options = (
        click.option(
            "--url", default=DEFAULT_URL, envvar="ROCKSTAR_URL", help="URL of the gateway."
        ),
        click.option(
            "--api-key", envvar="ROCKSTAR_API_KEY", help="API key, if the service requires one."
        ),
        ca_option,
    )
    for option in reversed(options):
        collected = option(collected)
    return collected


def service_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a command that calls a gateway or a model server."""
    grpc = click.option(
        "--grpc",
        metavar="HOST:PORT",
        help="Call this TensorFlow Serving directly instead; with --ca over TLS.",
    )
    return gateway_options(grpc(command))


def model_option(help_text: str, **settings: Any) -> Callable[[Command], Command]:
    """The option --model, with completion from the model folder."""
    return click.option("--model", type=ModelName(), help=help_text, **settings)
