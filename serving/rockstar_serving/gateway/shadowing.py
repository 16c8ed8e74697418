"""Copies of requests to another version, whose answers are compared and discarded.

One background thread makes them. If its queue is full, the copy is dropped.
"""

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_client.errors import CallError
from rockstar_contract.errors import InvalidInputError
from rockstar_serving.gateway.observers import Comparison, Observer
from tfs_api.status import Code

# Size of the queue; each entry holds the inputs of a request.
WAITING = 16
# Timeout of a copy.
TIMEOUT_S = 10.0

log = logging.getLogger(__name__)


class Shadows:
    """The queue and thread of copies; thread-safe."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._waiting: queue.Queue[tuple[str, Callable[[], Comparison]]] = queue.Queue(WAITING)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def offer(self, model: str, copy: Callable[[], Comparison]) -> None:
        """Queue a copy, or drop it if the queue is full."""
        try:
            self._waiting.put_nowait((model, copy))
        except queue.Full:
            self._observer.shadowed(Comparison(model, Code.RESOURCE_EXHAUSTED))
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="shadows", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            model, copy = self._waiting.get()
            try:
                comparison = copy()
            except CallError as error:
                comparison = Comparison(model, error.code)
            except InvalidInputError:
                comparison = Comparison(model, Code.INVALID_ARGUMENT)
            except Exception:
                log.exception("the shadow of model %s could not be compared", model)
                comparison = Comparison(model, Code.INTERNAL)
            self._observer.shadowed(comparison)


def compare(
    model: str, answer: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]
) -> Comparison:
    """Compare two answers to the same inputs, row by row.

    Rows of several floating-point columns agree if their largest value is in the same column. Other
    rows agree if they are equal; floating-point numbers may differ by one percent.
    """
    arrays = {
        name: (np.atleast_1d(array), np.atleast_1d(other[name]))
        for name, array in answer.items()
        if name in other
    }
    if not arrays or any(one.shape != two.shape for one, two in arrays.values()):
        return Comparison(model, Code.FAILED_PRECONDITION)
    rows = min(len(one) for one, _ in arrays.values())
    agreed = np.ones(rows, dtype=bool)
    difference = 0.0
    for one, two in arrays.values():
        agreed &= _agreement(one[:rows], two[:rows])
        if one.dtype.kind in "fiu" and one.size:
            difference = max(difference, float(np.abs(one.astype(float) - two.astype(float)).max()))
    return Comparison(model, Code.OK, rows, int(agreed.sum()), difference)


def _agreement(one: NDArray[Any], two: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each row agrees, [rows]."""
    if one.dtype.kind == "f" and one.ndim == 2 and one.shape[1] > 1:
        equal = np.equal(one.argmax(axis=1), two.argmax(axis=1))
    else:
        close = np.isclose(one, two, rtol=0.01) if one.dtype.kind == "f" else np.equal(one, two)
        equal = close.reshape(len(one), -1).all(axis=1)
    return np.asarray(equal, dtype=np.bool_)
