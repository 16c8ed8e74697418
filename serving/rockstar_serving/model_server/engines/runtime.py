"""What a module of an engine declares of its runtime."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rockstar_serving.model_server.engines.engine import Engine
from rockstar_serving.model_server.options import EngineOptions


@dataclass(frozen=True)
class Runtime:
    """A runtime that can run versions.

    A module in this package that has one, by the name RUNTIME, is an engine; nothing else has to
    know of it. The module itself must import quickly: what it imports of the runtime it imports
    when a version is loaded.

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
        """What of a version folder it would load, if anything."""
        return next((name for name in self.files if (folder / name).is_file()), None)
