"""What happens in a gateway, told to whoever counts, logs or traces it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from rockstar_client.predictor import Predicted
from rockstar_serving.gateway.context import RequestContext
from tfs_api.status import Code

log = logging.getLogger(__name__)


class Call(msgspec.Struct, frozen=True):
    """One call to the model server.

    Attributes:
        method: of the backend, such as "predict" or "contract".
        model: name.
        rows: examples in it; 0 where the method takes none.
        seconds: how long it took.
        code: OK, or how it failed.
    """

    method: str
    model: str
    rows: int
    seconds: float
    code: Code


@dataclass(frozen=True)
class Comparison:
    """Two versions' answers to the same inputs.

    Attributes:
        model: name.
        code: OK where they were compared; RESOURCE_EXHAUSTED where there was too much to do for a
            copy; FAILED_PRECONDITION where they cannot be compared; else how the copy failed.
        rows: that were compared.
        agreed: those of them that say the same.
        difference: the largest between two numbers.
    """

    model: str
    code: Code
    rows: int = 0
    agreed: int = 0
    difference: float = 0.0


class Observer:
    """Told what happens; a subclass overrides what it wants to know.

    Called in the threads that serve requests: be quick, and safe in several at once. What it raises
    is logged and does no harm.
    """

    def answered(self, context: RequestContext, status: int) -> None:
        """A request was answered, whether well or with an error."""

    def called(self, call: Call) -> None:
        """The model server was called."""

    def joined(self, model: str, requests: int) -> None:
        """Several requests go to the model server in one call; `called` follows."""

    def predicted(self, model: str, predicted: Predicted) -> None:
        """A model with a contract answered: its inputs and outputs, and what they mean."""

    def judged(
        self, context: RequestContext, examples: Sequence[Any], predicted: Predicted
    ) -> None:
        """The examples of a request, as they came, were answered."""

    def shadowed(self, comparison: Comparison) -> None:
        """A copy of a request was made, or should have been."""

    def in_flight(self, requests: int) -> None:
        """How many requests this worker has now, those that wait for a thread included."""

    def refused(self, why: Literal["queue", "key", "rate", "circuit"], requests: int = 1) -> None:
        """Requests were refused before anything was done for them."""


class Observers(Observer):
    """Tells several."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        # By event, the methods of those that want to know.
        self._tellers = {
            event: [
                getattr(observer, event)
                for observer in observers
                if getattr(type(observer), event) is not getattr(Observer, event)
            ]
            for event in vars(Observer)
            if not event.startswith("_")
        }

    def answered(self, context: RequestContext, status: int) -> None:
        """See Observer."""
        self._tell("answered", context, status)

    def called(self, call: Call) -> None:
        """See Observer."""
        self._tell("called", call)

    def joined(self, model: str, requests: int) -> None:
        """See Observer."""
        self._tell("joined", model, requests)

    def predicted(self, model: str, predicted: Predicted) -> None:
        """See Observer."""
        self._tell("predicted", model, predicted)

    def judged(
        self, context: RequestContext, examples: Sequence[Any], predicted: Predicted
    ) -> None:
        """See Observer."""
        self._tell("judged", context, examples, predicted)

    def shadowed(self, comparison: Comparison) -> None:
        """See Observer."""
        self._tell("shadowed", comparison)

    def in_flight(self, requests: int) -> None:
        """See Observer."""
        self._tell("in_flight", requests)

    def refused(self, why: Literal["queue", "key", "rate", "circuit"], requests: int = 1) -> None:
        """See Observer."""
        self._tell("refused", why, requests)

    def _tell(self, event: str, *arguments: object) -> None:
        for tell in self._tellers[event]:
            try:
                tell(*arguments)
            except Exception:
                name = type(tell.__self__).__name__
                log.exception("%s could not take note of %s", name, event)
