"""The interface between the server and runtimes, and the choice of a runtime."""

import importlib
import importlib.util
import pkgutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rockstar_contract.manifest import Manifest
from rockstar_serving.model_server import engines
from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from rockstar_serving.model_server.options import EngineOptions
from tfs_api.signature import Signature
from tfs_api.status import Code, StatusError

Arrays = Mapping[str, NDArray[Any]]
Outputs = dict[str, NDArray[Any]]


class LoadError(Exception):
    """A version folder cannot be loaded; the message says why and what to do."""


class UnsupportedModelError(LoadError):
    """The model is intact, but this runtime lacks something it needs; another one may have it."""


class SignatureNotFoundError(StatusError):
    """The model has no such signature; code and message depend on the call."""

    def __init__(
        self,
        signature_name: str,
        code: Code = Code.FAILED_PRECONDITION,
        message: str = 'Serving signature key "{}" not found.',
    ) -> None:
        super().__init__(code, message.format(signature_name))
        self.signature_name = signature_name


@dataclass(frozen=True)
class ServableId:
    """A version of a model."""

    model: str
    version: int

    def __str__(self) -> str:
        return f"model {self.model} version {self.version}"


class Engine(Protocol):
    """A loaded version; thread-safe."""

    @property
    def name(self) -> str:
        """The runtime, for logs."""

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """By name."""

    def run(
        self, signature: str, feeds: Arrays, fetches: list[str], deadline: Deadline = NO_DEADLINE
    ) -> Outputs:
        """Run a signature.

        Args:
            signature: a name in `signatures`.
            feeds: all inputs, of any dtypes and shapes.
            fetches: names of the outputs to return.
            deadline: a run that has not started by then is not started.

        Returns:
            The outputs, owned by the caller; strings are bytes in arrays of dtype object.

        Raises:
            StatusError: DEADLINE_EXCEEDED, INVALID_ARGUMENT (the dtype of a feed is wrong, or the
                model does not accept its shape), or an error of the runtime.
        """

    def close(self) -> None:
        """Free the version; no run may be in progress."""


# Makes the engine of a version folder; raises LoadError.
Loader = Callable[[ServableId, Path], Engine]


class EngineWrapper:
    """Base class of engines that wrap another one."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.name = engine.name
        self.signatures = engine.signatures

    def close(self) -> None:
        """See Engine."""
        self.engine.close()


class MeasuredEngine(EngineWrapper):
    """Reports the seconds, feeds and outputs of each run without an error."""

    def __init__(self, engine: Engine, report: Callable[[float, Arrays, Arrays], None]) -> None:
        super().__init__(engine)
        self._report = report

    def run(
        self, signature: str, feeds: Arrays, fetches: list[str], deadline: Deadline = NO_DEADLINE
    ) -> Outputs:
        """Run a signature; see Engine."""
        started = time.perf_counter()
        outputs = self.engine.run(signature, feeds, fetches, deadline)
        self._report(time.perf_counter() - started, feeds, outputs)
        return outputs


def as_array(value: Any) -> NDArray[Any]:
    """Convert an output to an array: runtimes return scalars as NumPy scalars or bytes."""
    if isinstance(value, np.ndarray):
        return value
    return np.array(value, object if isinstance(value, bytes) else None)


@dataclass(frozen=True)
class Runtime:
    """A runtime that can run versions.

    An engine is a module of this package that declares a Runtime named RUNTIME; nothing else refers
    to it. It must import its library only when a version is loaded.

    Attributes:
        name: for messages.
        package: the package to import.
        install: the command that installs it.
        files: a folder with one of these files can be loaded.
        reads: prefixes of the paths in a folder of the files that its library reads.
        export: how to create such a file, for messages.
        rank: of the runtimes that can load a folder, the one with the lowest rank does.
        load: makes the engine of a version folder with a manifest, with which it compares what it
            reads itself; raises LoadError or ManifestError.
    """

    name: str
    package: str
    install: str
    files: Sequence[str]
    reads: Sequence[str]
    export: str
    rank: Callable[[EngineOptions], int]
    load: Callable[[Path, EngineOptions, Manifest], Engine]

    @property
    def installed(self) -> bool:
        """Whether the package is installed; does not import it."""
        spec = importlib.util.find_spec(self.package)
        # Any folder of that name is found too; it has no origin.
        return spec is not None and spec.origin is not None

    def file_in(self, folder: Path) -> str | None:
        """The file of a version folder that it would load, if any."""
        return next((name for name in self.files if (folder / name).is_file()), None)

    def missing_in(self, folder: Path) -> str:
        """Explain why it cannot load a folder, and how to fix that."""
        if found := self.file_in(folder):
            return f"{found} is there, but {self.name} is not installed ({self.install})"
        reason = f"no {' or '.join(self.files)} for {self.name} ({self.export})"
        if self.installed:
            return reason
        return f"{reason}, which is not installed either ({self.install})"


def find_runtimes() -> list[Runtime]:
    """The runtimes that modules of this package declare."""
    names = [module.name for module in pkgutil.iter_modules(engines.__path__)]
    modules = [importlib.import_module(f"{engines.__name__}.{name}") for name in names]
    return [module.RUNTIME for module in modules if hasattr(module, "RUNTIME")]


def choose_runtime(folder: Path, options: EngineOptions, runtimes: Sequence[Runtime]) -> Runtime:
    """Choose the installed runtime of the lowest rank that can load a folder; or LoadError."""
    ranked = sorted(runtimes, key=lambda runtime: runtime.rank(options))
    for runtime in ranked:
        if runtime.installed and runtime.file_in(folder):
            return runtime
    if not folder.is_dir():
        raise LoadError(f"{folder} is not a folder")
    keras = next((path for path in folder.iterdir() if path.suffix in (".keras", ".h5")), None)
    if keras is not None:
        raise LoadError(
            f"{folder} holds {keras.name}, which no server loads: publish it with rockstar import "
            f"{keras} --name {folder.parent.name}"
        )
    reasons = "; ".join(runtime.missing_in(folder) for runtime in ranked)
    raise LoadError(f"{folder} holds nothing that can be loaded: {reasons}")


def in_words(options: EngineOptions, runtimes: Sequence[Runtime]) -> str:
    """Describe for the log in which order runtimes are tried, and which are not installed."""
    ranked = sorted(runtimes, key=lambda runtime: runtime.rank(options))
    order = ", else ".join(f"{each.name} ({each.files[0]})" for each in ranked if each.installed)
    absent = [f"{each.name} is not installed" for each in ranked if not each.installed]
    return "; ".join([order or "none", *absent])
