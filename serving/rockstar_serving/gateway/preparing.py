"""Inputs are prepared by a few requests at a time."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from rockstar_client.predictor import Batch
from rockstar_contract.contract import Input
from rockstar_serving.gateway.context import context
from rockstar_serving.gateway.turns import Turns

# What is prepared in a thread that requests share takes some milliseconds at most: a few examples,
# and of images only PNGs, of this size. Other formats can hide seconds of work in few bytes, as a
# progressive JPEG of thousands of scans does.
SMALL_PIXELS = 256 * 256
_SMALL_BYTES = 8 * 1024
_FEW = 32
_PNG = b"\x89PNG"


class TakesLongError(Exception):
    """Inputs may take too long to be prepared in a thread that requests share."""


def is_quick(examples: Sequence[Any]) -> bool:
    """Whether examples are few and, where they are encoded images, small, but for their pixels."""
    return len(examples) <= _FEW and all(
        example.startswith(_PNG) and len(example) <= _SMALL_BYTES
        for example in examples
        if isinstance(example, bytes)
    )


class Preparing:
    """Runs what prepares inputs; thread-safe, within a request only."""

    def __init__(self, at_once: int, turns: Turns) -> None:
        """Bound it.

        Args:
            at_once: how many requests may prepare at a time. More would not be faster, and decoded
                images are large.
            turns: how requests take turns.
        """
        self._room = threading.Semaphore(at_once)
        self._turns = turns

    def run(self, prepare: Callable[[Input], Batch], spec: Input) -> Batch:
        """Prepare inputs as soon as there is room.

        Args:
            prepare: raises TakesLongError in a shared thread to be called again in another.
            spec: what the contract says of the input.
        """
        if not self._turns.shared():
            return self._in_turn(prepare, spec)
        try:
            return prepare(spec)
        except TakesLongError:
            return self._turns.aside(lambda: self._in_turn(prepare, spec))

    def _in_turn(self, prepare: Callable[[Input], Batch], spec: Input) -> Batch:
        # Whoever waits until there is no time left is told so by time_left.
        while not self._room.acquire(timeout=context().time_left()):
            continue
        try:
            return prepare(spec)
        finally:
            self._room.release()
