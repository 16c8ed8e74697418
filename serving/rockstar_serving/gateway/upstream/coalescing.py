"""Requests that wait for the same model go to the model server together.

At rest a request goes straight through. While a call for the same model, version and signature is
on its way (or as many as are allowed at a time), what arrives waits, and goes with the next call:
up to the largest batch, one Predict for all of them. A batch that is full goes at once. No thread
is kept for this: when a call is over, one of those that wait makes the next one for all, and each
goes on with its share. Requests that share a thread wait until all that came are there.
"""

import threading
from collections.abc import Callable, Sequence
from typing import TypeAlias

from rockstar_client.backend import Backend, TensorResponse
from rockstar_client.errors import CallError, call_error
from rockstar_serving.gateway.observer import Observer
from rockstar_serving.gateway.turns import Turns
from rockstar_serving.gateway.upstream.passengers import (
    Inputs,
    Passenger,
    Traffic,
    joined,
    rows_of,
    shares,
)
from rockstar_serving.gateway.upstream.wrapped import Wrapped
from tfs_api.signature import DEFAULT_SIGNATURE
from tfs_api.status import Code

# What one bad input can do to a call: each of the batch is then sent alone, and fails alone.
_PERHAPS_ONE_OF_THEM = {
    Code.INVALID_ARGUMENT,
    Code.FAILED_PRECONDITION,
    Code.OUT_OF_RANGE,
    Code.INTERNAL,
    Code.UNKNOWN,
}
# What requests must have in common to share calls: model, version, label, signature, outputs.
Lane: TypeAlias = tuple[str, int | None, str | None, str, tuple[str, ...]]


class Coalescing(Wrapped):
    """A backend whose Predict calls are shared; thread-safe.

    For signatures that treat each row by itself, such as those that a contract describes.
    """

    def __init__(
        self,
        backend: Backend,
        max_batch: Callable[[str], int],
        max_calls: int,
        observer: Observer,
        turns: Turns,
    ) -> None:
        """Wrap a backend.

        Args:
            backend: makes the calls.
            max_batch: the most rows of several requests in one call, by model.
            max_calls: calls of a lane at a time; while there are fewer, nobody waits.
            observer: told of shared calls.
            turns: how requests wait.
        """
        super().__init__(backend)
        self._max_batch = max_batch
        self._max_calls = max_calls
        self._observer = observer
        self._turns = turns
        self._lock = threading.Lock()
        # A lane is there while calls of it are on their way, or somebody waits.
        self._lanes: dict[Lane, Traffic] = {}
        turns.at_rest(self._depart)

    def predict(
        self,
        model: str,
        inputs: Inputs,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = DEFAULT_SIGNATURE,
        outputs: Sequence[str] = (),
        timeout: float | None = None,
    ) -> TensorResponse:
        """See Backend; without a timeout the call is not shared."""
        lane = (model, version, label, signature, tuple(outputs))
        rows = rows_of(inputs)
        if timeout is None or rows is None or rows >= self._max_batch(model):
            return self._send(lane, inputs, timeout)
        passenger = Passenger(inputs, rows, timeout, self._turns.gate())
        with self._lock:
            traffic = self._lanes.setdefault(lane, Traffic())
            traffic.waiting.append(passenger)
            only_full = traffic.calls >= self._max_calls or self._turns.shared()
            driver = traffic.board(self._max_batch(model), only_full=only_full)
        if driver is not passenger:
            if driver is not None:
                driver.wake()
            self._wait(lane, passenger)
        if passenger.batch:
            self._drive(lane, passenger)
        return self._arrived(lane, passenger)

    def _wait(self, lane: Lane, passenger: Passenger) -> None:
        """Until there is an outcome, a batch to make the call for, or no time left."""
        if passenger.wait():
            return
        with self._lock:
            traffic = self._lanes.get(lane)
            if traffic is not None and passenger in traffic.waiting:
                traffic.waiting.remove(passenger)

    def _depart(self) -> None:
        """Let those go who share a thread: nobody else comes along."""
        with self._lock:
            drivers = [
                traffic.board(self._max_batch(lane[0]))
                for lane, traffic in self._lanes.items()
                if traffic.calls < self._max_calls
            ]
            for lane in [lane for lane, traffic in self._lanes.items() if traffic.is_empty()]:
                del self._lanes[lane]
        for driver in drivers:
            if driver is not None:
                driver.wake()

    def _drive(self, lane: Lane, driver: Passenger) -> None:
        """Make one call for a batch, and have the next one made."""
        # Not kept: it holds the driver itself.
        batch, driver.batch = driver.batch, ()
        outcomes: Sequence[TensorResponse | CallError] | None = None
        try:
            if len(batch) == 1:
                outcomes = [self._send(lane, driver.inputs, driver.time_left())]
            else:
                self._observer.joined(lane[0], len(batch))
                response = self._send(lane, joined(batch), driver.time_left())
                outcomes = shares(response, batch)
        except CallError as error:
            outcomes = [error] * len(batch)
        finally:
            self._next(lane)
            if outcomes is None:
                outcomes = [call_error(Code.UNKNOWN, "the joint call failed")] * len(batch)
            for passenger, outcome in zip(batch, outcomes, strict=True):
                passenger.outcome, passenger.company = outcome, len(batch)
                if passenger is not driver:
                    passenger.wake()

    def _next(self, lane: Lane) -> None:
        with self._lock:
            traffic = self._lanes[lane]
            traffic.calls -= 1
            driver = traffic.board(self._max_batch(lane[0]))
            if traffic.is_empty():
                del self._lanes[lane]
        if driver is not None:
            driver.wake()

    def _arrived(self, lane: Lane, passenger: Passenger) -> TensorResponse:
        outcome = passenger.outcome
        if isinstance(outcome, TensorResponse):
            return outcome
        if outcome is None or (outcome.code in _PERHAPS_ONE_OF_THEM and passenger.company > 1):
            return self._send(lane, passenger.inputs, passenger.time_left())
        # Raised in several threads: each needs its own.
        raise call_error(outcome.code, outcome.message) from outcome

    def _send(self, lane: Lane, inputs: Inputs, timeout: float | None) -> TensorResponse:
        model, version, label, signature, outputs = lane
        return self._backend.predict(
            model,
            inputs,
            version=version,
            label=label,
            signature=signature,
            outputs=outputs,
            timeout=timeout,
        )
