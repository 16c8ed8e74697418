"""Names of models, versions and labels as shells complete them: what the model folder holds."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

_FOLDER = "models"
_LABELS = ("stable", "canary")


class ModelName(click.ParamType[str]):
    """The name of a model."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As it is: whether there is such a model, who is asked knows."""
        if not value:
            self.fail("expected a name, got an empty text.", param, ctx)
        return str(value)

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem[str]]:
        """The models that there are."""
        return _starting(incomplete, _models(ctx))


class ModelAndVersion(ModelName):
    """MODEL or MODEL/VERSION."""

    name = "model[/version]"

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem[str]]:
        """The models; after a /, the versions."""
        model, slash, _ = incomplete.partition("/")
        if not slash:
            return _starting(incomplete, _models(ctx))
        return _starting(incomplete, [f"{model}/{version}" for version in _versions(ctx, model)])


class VersionNumber(click.IntRange):
    """The number of a version of the model that the command line names."""

    name = "version"

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem[str]]:
        """The versions of that model."""
        return _starting(incomplete, map(str, _versions(ctx, ctx.params.get("model"))))


class Label(ModelName):
    """A label."""

    name = "label"

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem[str]]:
        """The usual ones, and those that the model has."""
        return _starting(incomplete, dict.fromkeys([*_LABELS, *_labels(ctx)]))


def _starting(incomplete: str, names: Iterable[str]) -> list[CompletionItem[str]]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _folder(ctx: click.Context) -> Path:
    return Path(ctx.params.get("models") or _FOLDER)


def _models(ctx: click.Context) -> list[str]:
    from serving.model_folder import ModelFolderError, find_models

    try:
        return list(find_models(_folder(ctx)))
    except ModelFolderError:
        return []


def _versions(ctx: click.Context, model: str | None) -> list[int]:
    from serving.model_server.models.versions import scan

    try:
        return sorted(scan(_folder(ctx) / model), reverse=True) if model else []
    except OSError:
        return []


def _labels(ctx: click.Context) -> list[str]:
    from serving.model_folder import ModelFolderError
    from serving.models_config import read_labels

    try:
        book = read_labels(_folder(ctx))
    except ModelFolderError:
        return []
    # While an option waits for its value, click does not tell the arguments.
    model = ctx.params.get("model")
    models = [model] if model else _models(ctx)
    return [label for name in models for label in book.labels(name)]
