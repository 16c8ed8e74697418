"""Options and types of arguments that several commands share."""

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

import rockstar_client

if TYPE_CHECKING:
    from rockstar_client.tfserving import TFServingClient

_DEFAULT_URL = "http://127.0.0.1:8080"
DEFAULT_MODELS = "models"


class Name(click.ParamType[str]):
    """A name, completed from the known ones; the service or folder checks whether it exists."""

    def __init__(self, name: str, known: Callable[[click.Context, str], Iterable[str]]) -> None:
        self.name, self._known = name, known

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Reject an empty text."""
        if not value:
            self.fail("expected a name, got an empty text.", param, ctx)
        return str(value)

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem[str]]:
        """Complete a known name."""
        names = self._known(ctx, incomplete)
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _models_and_versions(ctx: click.Context, incomplete: str) -> Iterable[str]:
    model, slash, _ = incomplete.partition("/")
    return [f"{model}/{each}" for each in _versions(ctx, model)] if slash else _models(ctx)


MODEL = Name("name", lambda ctx, _: _models(ctx))
MODEL_AND_VERSION = Name("model[/version]", _models_and_versions)
LABEL = Name("label", lambda ctx, _: dict.fromkeys(["stable", "canary", *_labels(ctx)]))


def split_version(which: str) -> tuple[str, int | None]:
    """Split MODEL or MODEL/VERSION; raises click.UsageError."""
    model, slash, number = which.partition("/")
    if slash and not (model and number.isascii() and number.isdigit()):
        raise click.UsageError(f"expected MODEL or MODEL/VERSION, such as cnn/3, got {which!r}")
    return model, int(number) if slash else None


class VersionNumber(click.IntRange):
    """The number of a version of the model that the command line names."""

    name = "version"

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem[str]]:
        """Complete a version of that model."""
        numbers = map(str, _versions(ctx, ctx.params.get("model")))
        return [CompletionItem(number) for number in numbers if number.startswith(incomplete)]


def _folder(ctx: click.Context) -> Path:
    return Path(ctx.params.get("models") or DEFAULT_MODELS)


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
    "--models", default=DEFAULT_MODELS, type=click.Path(path_type=Path), help="Model folder."
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


@dataclass(frozen=True)
class Service:
    """The service that a command calls."""

    url: str  # of a gateway
    api_key: str | None = None  # if the gateway requires one
    ca: Path | None = None  # CA certificates; None uses the system's, and plain text for gRPC
    grpc: str | None = None  # address of a model server to call instead

    @property
    def tls(self) -> "rockstar_client.Tls | None":
        """TLS settings, if --ca is given."""
        return None if self.ca is None else rockstar_client.Tls(self.ca)

    def http_client(self) -> "rockstar_client.HttpClient":
        """Make a client of the gateway without retries: commands report errors at once."""
        return rockstar_client.HttpClient(self.url, **self._settings)

    def client(self) -> "rockstar_client.GrpcClient | rockstar_client.HttpClient":
        """Make a client of the model server, if there is one, or of the gateway."""
        if self.grpc is None:
            return self.http_client()
        return rockstar_client.GrpcClient(self.grpc, **self._settings)

    @property
    def _settings(self) -> dict[str, Any]:
        once = rockstar_client.RetryPolicy(attempts=1)
        return {"api_key": self.api_key, "tls": self.tls, "retry": once}

    def tensor_client(self) -> "TFServingClient":
        """Make a client of the model server's own API."""
        from rockstar_client.endpoint import fixed_headers
        from rockstar_client.tfserving import ChannelOptions, TFServingClient

        headers = tuple(fixed_headers(self.api_key, None).items())
        options = ChannelOptions(tls=self.tls, proxy=True)
        return TFServingClient(self.grpc or "", headers=lambda: headers, options=options)


def service_options(
    model_help: str, *, with_grpc: bool = True, **settings: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add --model, and the options of a command that calls a gateway, or a model server over gRPC.

    The command gets `model`, `version` and `service`. The settings are those of --model.
    """
    options = [
        click.option("--model", type=MODEL, help=model_help, **settings),
        click.option(
            "--url", default=_DEFAULT_URL, envvar="ROCKSTAR_URL", help="URL of the gateway."
        ),
        api_key_option,
        ca_option,
    ]
    if with_grpc:
        called = "Call this TensorFlow Serving directly instead; with --ca over TLS."
        options.append(click.option("--grpc", metavar="HOST:PORT", help=called))
    newest = "Version.  [default: the newest]"
    options.append(click.option("--version", type=click.IntRange(1), help=newest))

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def collected(
            *,
            url: str,
            api_key: str | None,
            ca: Path | None,
            grpc: str | None = None,
            **others: Any,
        ) -> Any:
            if ca is not None and grpc is None and url.startswith("http://"):
                raise click.UsageError(f"--ca goes with https://, not with {url}.")
            return command(service=Service(url, api_key, ca, grpc), **others)

        for option in reversed(options):
            collected = option(collected)
        return collected

    return decorate
