"""Names of models, versions and labels as shells complete them: what the model folder holds."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

_FOLDER = "models"
_LABELS = ("stable", "canary")


class _Completed(ABC):
    """Completes what its user types by the names that it knows."""

    @abstractmethod
    def names(self, ctx: click.Context, incomplete: str) -> Iterable[str]:
        """What may be meant."""

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem[str]]:
        """Those of the names that start so."""
        names = self.names(ctx, incomplete)
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


class ModelName(_Completed, click.ParamType[str]):
    """The name of a model."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As it is: whether there is such a model, who is asked knows."""
        if not value:
            self.fail("expected a name, got an empty text.", param, ctx)
        return str(value)

    def names(self, ctx: click.Context, incomplete: str) -> Iterable[str]:  # noqa: ARG002
        """The models that there are."""
        return _models(ctx)


class ModelAndVersion(ModelName):
    """MODEL or MODEL/VERSION."""

    name = "model[/version]"

    def names(self, ctx: click.Context, incomplete: str) -> Iterable[str]:
        """The models; after a /, the versions."""
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
        """The usual ones, and those that the model has."""
        return dict.fromkeys([*_LABELS, *_labels(ctx)])


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
    from serving.version_folders import held_versions

    try:
        if not model:
            return []
        base = _folder(ctx) / model
        return sorted({*scan(base), *held_versions(base)}, reverse=True)
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
