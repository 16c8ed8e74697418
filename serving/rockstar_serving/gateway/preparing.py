"""Limits how many requests preprocess their inputs at a time."""

import threading
from collections.abc import Callable

from rockstar_client.predictor import Batch
from rockstar_contract.contract import Input
from rockstar_serving.gateway.context import context


class PreprocessingLimiter:
    """Runs preprocessing, for a few requests at a time; thread-safe, within a request only."""

    def __init__(self, at_once: int) -> None:
        """Set the limit.

        Args:
            at_once: requests that preprocess at a time. More would not be faster, and decoded
                images are large.
        """
        self._room = threading.Semaphore(at_once)

    def run(self, prepare: Callable[[Input], Batch], spec: Input) -> Batch:
        """Call `prepare` with a contract's input as soon as there is room.

        Raises:
            DeadlineExceededError: the request's time ended first.
        """
        while not self._room.acquire(timeout=context().time_left()):
            continue
        try:
            return prepare(spec)
        finally:
            self._room.release()
