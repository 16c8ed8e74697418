"""What runs one version of a model: the seam between the server and a runtime."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from tfs_api.signature import Signature


class LoadError(Exception):
    """A version folder that cannot be loaded; the message says why and what to do."""


class UnsupportedModelError(LoadError):
    """A model that is whole, but needs what this runtime lacks; another runtime may have it."""


class Engine(Protocol):
    """One loaded version; safe to call from several threads."""

    @property
    def name(self) -> str:
        """Of the runtime, for logs."""
        ...

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """What can be run, by name."""
        ...

    def run(
        self,
        signature: str,
        feeds: Mapping[str, NDArray[Any]],
        fetches: Sequence[str],
        deadline: Deadline = NO_DEADLINE,
    ) -> dict[str, NDArray[Any]]:
        """Run a signature.

        Args:
            signature: a name in `signatures`.
            feeds: all inputs, of any dtypes and shapes.
            fetches: names of the outputs wanted.
            deadline: what has not begun by then is not begun.

        Returns:
            The outputs, owned by the caller; strings as bytes in arrays of dtype object.

        Raises:
            StatusError: DEADLINE_EXCEEDED, INVALID_ARGUMENT (a feed of another dtype, or of a shape
                that the model does not take), or what else the runtime found wrong.
        """
        ...

    def close(self) -> None:
        """Free what it holds; nothing runs any more."""
        ...


class EngineWrapper:
    """An Engine around another one; subclasses override what they change.

    Attributes:
        engine: the wrapped one.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def name(self) -> str:
        """Name of the runtime; see Engine."""
        return self.engine.name

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """What can be run, by name; see Engine."""
        return self.engine.signatures

    def run(
        self,
        signature: str,
        feeds: Mapping[str, NDArray[Any]],
        fetches: Sequence[str],
        deadline: Deadline = NO_DEADLINE,
    ) -> dict[str, NDArray[Any]]:
        """Run a signature; see Engine."""
        return self.engine.run(signature, feeds, fetches, deadline)

    def close(self) -> None:
        """Free the wrapped engine; see Engine."""
        self.engine.close()


def as_array(value: Any) -> NDArray[Any]:
    """An output as an array; without dimensions, runtimes give NumPy's scalars, or bytes."""
    if isinstance(value, np.ndarray):
        return value
    return np.array(value, object if isinstance(value, bytes) else None)


@dataclass(frozen=True)
class ServableId:
    """A version of a model."""

    model: str
    version: int

    def __str__(self) -> str:
        return f"model {self.model} version {self.version}"


# From a version and its folder to what runs it; raises LoadError.
Loader = Callable[[ServableId, Path], Engine]
