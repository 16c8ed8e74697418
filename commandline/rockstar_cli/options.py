"""Options and types of arguments that several commands share."""

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

import rockstar_client

if TYPE_CHECKING:
    from rockstar_client.tfserving import TFServingClient

Command = TypeVar("Command", bound=Callable[..., Any])

_DEFAULT_URL = "http://127.0.0.1:8080"
_DEFAULT_MODELS = "models"
_LABELS = ("stable", "canary")


class _Completed(click.ParamType[Any]):
    """A parameter type with shell completion from known names."""

    def candidates(self, ctx: click.Context, incomplete: str) -> Iterable[str]:  # noqa: ARG002
        """The known names."""
        return _models(ctx)

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem[str]]:
        """The candidates that start with what was typed."""
        names = self.candidates(ctx, incomplete)
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


class ModelName(_Completed):
    """The name of a model."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name as given; the service or folder checks whether it exists."""
        if not value:
            self.fail("expected a name, got an empty text.", param, ctx)
        return str(value)


class ModelAndVersion(ModelName):
    """MODEL or MODEL/VERSION."""

    name = "model[/version]"

    def candidates(self, ctx: click.Context, incomplete: str) -> Iterable[str]:
        """The models, or after a / the versions."""
        model, slash, _ = incomplete.partition("/")
        return [f"{model}/{each}" for each in _versions(ctx, model)] if slash else _models(ctx)


class VersionNumber(_Completed, click.IntRange):
    """The number of a version of the model that the command line names."""

    name = "version"

    def candidates(self, ctx: click.Context, incomplete: str) -> Iterable[str]:  # noqa: ARG002
        """The versions of that model."""
        return map(str, _versions(ctx, ctx.params.get("model")))


class Label(ModelName):
    """A label."""

    name = "label"

    def candidates(self, ctx: click.Context, incomplete: str) -> Iterable[str]:  # noqa: ARG002
        """The usual labels and those of the model."""
        return dict.fromkeys([*_LABELS, *_labels(ctx)])


def _folder(ctx: click.Context) -> Path:
    return Path(ctx.params.get("models") or _DEFAULT_MODELS)


def _models(ctx: click.Context) -> list[str]:
    from rockstar_serving.model_folder import ModelFolderError, find_models

    try:
        return list(find_models(_folder(ctx)))
    except ModelFolderError:
        return []


def _versions(ctx: click.Context, model: str | None) -> list[int]:
    from rockstar_contract.version_folders import held_versions, served_versions

    if not model:
        return []
    base = _folder(ctx) / model
    try:
        return sorted({*served_versions(base), *held_versions(base)}, reverse=True)
    except OSError:
        return []


def _labels(ctx: click.Context) -> list[str]:
    from rockstar_serving.model_folder import ModelFolderError, read_labels

    try:
        assigned = read_labels(_folder(ctx))
    except ModelFolderError:
        return []
    # While an option value is completed, click does not pass the arguments.
    model = ctx.params.get("model")
    return [
        label for name in ([model] if model else _models(ctx)) for label in assigned.labels(name)
    ]


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
    "--models", default=_DEFAULT_MODELS, type=click.Path(path_type=Path), help="Model folder."
)
version_option = click.option(
    "--version", type=click.IntRange(1), help="Version.  [default: the newest]"
)
api_key_option = click.option(
    "--api-key", envvar="ROCKSTAR_API_KEY", help="API key, if the service requires one."
)
ca_option = click.option(
    "--ca",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CA certificates (PEM) to verify the service with, for TLS.",
)


def model_option(help_text: str, **settings: Any) -> Callable[[Command], Command]:
    """The option --model, with completion from the model folder."""
    return click.option("--model", type=ModelName(), help=help_text, **settings)


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
    def tls(self) -> "rockstar_client.Tls | None":
        """TLS settings, if --ca is given."""
        return None if self.ca is None else rockstar_client.Tls(self.ca)

    def http_client(self) -> "rockstar_client.HttpClient":
        """Make a client of the gateway without retries: commands report errors at once."""
        once = rockstar_client.RetryPolicy(attempts=1)
        return rockstar_client.HttpClient(self.url, api_key=self.api_key, tls=self.tls, retry=once)

    def client(self) -> "rockstar_client.GrpcClient | rockstar_client.HttpClient":
        """Make a client of the model server, if there is one, or of the gateway."""
        if self.grpc is None:
            return self.http_client()
        once = rockstar_client.RetryPolicy(attempts=1)
        return rockstar_client.GrpcClient(self.grpc, api_key=self.api_key, tls=self.tls, retry=once)

    def tensor_client(self) -> "TFServingClient":
        """Make a client of the model server's own API."""
        from rockstar_client.endpoint import fixed_headers
        from rockstar_client.tfserving import ChannelOptions, TFServingClient

        headers = tuple(fixed_headers(self.api_key, None).items())
        options = ChannelOptions(tls=self.tls, proxy=True)
        return TFServingClient(self.grpc or "", headers=lambda: headers, options=options)


def gateway_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a command that calls a gateway; it gets them as `service`."""

    @functools.wraps(command)
    def collected(
        *, url: str, api_key: str | None, ca: Path | None, grpc: str | None = None, **others: Any
    ) -> Any:
        if ca is not None and grpc is None and url.startswith("http://"):
            raise click.UsageError(f"--ca goes with https://, not with {url}.")
        return command(service=Service(url, api_key, ca, grpc), **others)

    url = click.option(
        "--url", default=_DEFAULT_URL, envvar="ROCKSTAR_URL", help="URL of the gateway."
    )
    return url(api_key_option(ca_option(collected)))


def service_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a command that calls a gateway or a model server."""
    grpc = click.option(
        "--grpc",
        metavar="HOST:PORT",
        help="Call this TensorFlow Serving directly instead; with --ca over TLS.",
    )
    return gateway_options(grpc(command))
