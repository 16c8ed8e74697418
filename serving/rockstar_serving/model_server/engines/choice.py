"""Which engine runs a version."""

import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path

from rockstar_serving.model_server import engines
from rockstar_serving.model_server.engines.engine import LoadError
from rockstar_serving.model_server.engines.runtime import Runtime
from rockstar_serving.model_server.options import EngineOptions


def find_runtimes() -> list[Runtime]:
    """All that the modules in this package declare."""
    names = [module.name for module in pkgutil.iter_modules(engines.__path__)]
    modules = [importlib.import_module(f"{engines.__name__}.{name}") for name in names]
    return [module.RUNTIME for module in modules if hasattr(module, "RUNTIME")]


def choose_runtime(folder: Path, options: EngineOptions, runtimes: Sequence[Runtime]) -> Runtime:
    """The first installed runtime that finds in a version folder what it can load.

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
    """The order in which runtimes are tried, and which are not installed, for the log."""
    ranked = sorted(runtimes, key=lambda runtime: runtime.rank(options))
    order = ", else ".join(f"{each.name} ({each.files[0]})" for each in ranked if each.installed)
    absent = [f"{each.name} is not installed" for each in ranked if not each.installed]
    return "; ".join([order or "none", *absent])


def _missing(runtime: Runtime, folder: Path) -> str:
    """Why a runtime cannot load a folder, and each cure."""
    found = runtime.file_in(folder)
    if found:
        return f"{found} is there, but {runtime.name} is not installed ({runtime.install})"
    reason = f"no {' or '.join(runtime.files)} for {runtime.name} ({runtime.export})"
    if runtime.installed:
        return reason
    return f"{reason}, which is not installed either ({runtime.install})"
