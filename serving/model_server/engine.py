"""What runs one version of a model: the seam between the server and a runtime."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from serving.api.signature import Signature


class LoadError(Exception):
    """A version folder that cannot be loaded; the message says why and what to do."""


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
        self, signature: str, feeds: Mapping[str, NDArray[Any]], fetches: Sequence[str]
    ) -> dict[str, NDArray[Any]]:
        """Run a signature.

        Args:
            signature: a name in `signatures`.
            feeds: all inputs, already of the right dtypes and of shapes that fit.
            fetches: names of the outputs wanted.

        Returns:
            The outputs, owned by the caller; strings as bytes in arrays of dtype object.
        """
        ...

    def close(self) -> None:
        """Free what it holds; nothing runs any more."""
        ...


# From a version folder to what runs it; raises LoadError.
Loader = Callable[[Path], Engine]
