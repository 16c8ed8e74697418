"""What models take, remembered, so that as a rule a request is one call upstream."""

from collections.abc import Mapping
from dataclasses import dataclass

from flask import current_app

from rockstar_client.backend import Metadata
from rockstar_serving.gateway.context import context
from rockstar_serving.gateway.state import gateway
from tfs_api.model_ref import ModelRef
from tfs_api.signature import Signature, signature_of

EXTENSION = "tfserving"
# Far more than are in use at a time; versions come and go.
_MOST = 1024


@dataclass(frozen=True)
class Known:
    """The signatures of a version by name."""

    version: int
    signatures: Mapping[str, Signature]


class Signatures:
    """The signatures of what requests name; thread-safe, within a request only.

    What a name without a number stands for changes, so what is remembered may be old. The version
    that answers tells.
    """

    def __init__(self) -> None:
        self._known: dict[ModelRef, Known] = {}

    def remembered(self, ref: ModelRef) -> Known | None:
        """What was last seen of a model."""
        return self._known.get(ref)

    def read(self, ref: ModelRef) -> Known:
        """What a model has now.

        Raises:
            CallError: the model server does not say it.
        """
        found = gateway().backend.metadata(
            ref.name, ref.version, label=ref.label, timeout=context().time_left()
        )
        known = _known(found)
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[ref] = self._known[ModelRef(ref.name, known.version)] = known
        return known

    def of_version(self, ref: ModelRef, version: int) -> Known:
        """What the version has that answered for a name; remembered for the next request.

        Raises:
            CallError: the model server does not say it.
        """
        exact = ModelRef(ref.name, version)
        known = self._known[ref] = self._known.get(exact) or self.read(exact)
        return known


def signatures() -> Signatures:
    """Those that the application of the current request remembers."""
    remembered: Signatures = current_app.extensions[EXTENSION]
    return remembered


def _known(found: Metadata) -> Known:
    by_name = {name: signature_of(message) for name, message in found.signatures.items()}
    return Known(found.version, by_name)
