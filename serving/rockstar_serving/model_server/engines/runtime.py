"""Runtimes that can run versions, and the choice between them."""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rockstar_serving.model_server import engines
from rockstar_serving.model_server.engines.engine import Engine, LoadError
from rockstar_serving.model_server.options import EngineOptions


@dataclass(frozen=True)
class Runtime:
    """A runtime that can run versions.

    A module of this package that declares one, named RUNTIME, is an engine; nothing else refers to
    it. The module must import quickly: it imports the runtime only when a version is loaded.

    Attributes:
        name: for messages.
        package: what Python imports.
        install: the command that installs it.
        files: a version folder with one of these can be loaded.
        reads: how the paths of files begin that it reads of a folder.
        export: how a folder gets such a file.
        rank: of runtimes that can load a folder, the one of the lowest rank does.
        load: makes the engine of a version folder; raises LoadError.
    """

    name: str
    package: str
    install: str
    files: Sequence[str]
    reads: Sequence[str]
    export: str
    rank: Callable[[EngineOptions], int]
    load: Callable[[Path, EngineOptions], Engine]

    @property
    def installed(self) -> bool:
        """Whether Python would find it; it is not imported for that."""
        spec = importlib.util.find_spec(self.package)
        # Any folder of that name is found too; it has no origin.
        return spec is not None and spec.origin is not None

    def file_in(self, folder: Path) -> str | None:
        """The file of a version folder that it would load, if any."""
        return next((name for name in self.files if (folder / name).is_file()), None)


def find_runtimes() -> list[Runtime]:
    """The runtimes that modules of this package declare."""
    names = [module.name for module in pkgutil.iter_modules(engines.__path__)]
    modules = [importlib.import_module(f"{engines.__name__}.{name}") for name in names]
    return [module.RUNTIME for module in modules if hasattr(module, "RUNTIME")]


def choose_runtime(folder: Path, options: EngineOptions, runtimes: Sequence[Runtime]) -> Runtime:
    """The first installed runtime that can load a version folder.

    Raises:
        LoadError: none does.
    """
    ranked = sorted(runtimes, key=lambda runtime: runtime.rank(options))
    for runtime in ranked:
        if runtime.installed and runtime.file_in(folder):
            return runtime
    if not folder.is_dir():
        raise LoadError(f"{folder} is not a folder")
    reasons = "; ".join(_missing(runtime, folder) for runtime in ranked)
    keras = next((path for path in folder.iterdir() if path.suffix in (".keras", ".h5")), None)
    if keras is not None:
        raise LoadError(
            f"{folder} holds {keras.name}, which no server loads: publish it with rockstar import "
            f"{keras} --name {folder.parent.name}"
        )
    raise LoadError(f"{folder} holds nothing that can be loaded: {reasons}")


def in_words(options: EngineOptions, runtimes: Sequence[Runtime]) -> str:
    """The order in which runtimes are tried, and those that are not installed, for the log."""
    ranked = sorted(runtimes, key=lambda runtime: runtime.rank(options))
    order = ", else ".join(f"{each.name} ({each.files[0]})" for each in ranked if each.installed)
    absent = [f"{each.name} is not installed" for each in ranked if not each.installed]
    return "; ".join([order or "none", *absent])


def _missing(runtime: Runtime, folder: Path) -> str:
    """Why a runtime cannot load a folder, and how to fix it."""
    found = runtime.file_in(folder)
    if found:
        return f"{found} is there, but {runtime.name} is not installed ({runtime.install})"
    reason = f"no {' or '.join(runtime.files)} for {runtime.name} ({runtime.export})"
    if runtime.installed:
        return reason
    return f"{reason}, which is not installed either ({runtime.install})"
