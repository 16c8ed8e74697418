"""Calls of several requests, written once for clients that block and clients that do not.

A call is a generator: it yields what is to be asked, gets the answer or the exception sent back,
and returns its result. It does no I/O with the server: that is left to who runs it, here or in
`rockstar_client.async_steps`.
"""

from collections.abc import Callable, Generator
from functools import partial
from typing import Any, TypeVar

import msgspec

Asked = TypeVar("Asked")
Result = TypeVar("Result")


class Done(msgspec.Struct, frozen=True):
    """A call came to its end."""

    result: Any


def run(steps: Generator[Asked, Any, Result], ask: Callable[[Asked], Any]) -> Result:
    """The result of a call, with a function that answers what it asks."""
    step = advance(partial(next, steps))
    while not isinstance(step, Done):
        try:
            answer = ask(step)
        except Exception as error:
            step = advance(partial(steps.throw, error))
        else:
            step = advance(partial(steps.send, answer))
    result: Result = step.result
    return result


def advance(resume: Callable[[], Asked]) -> Asked | Done:
    """What a call asks next, or its end."""
    try:
        return resume()
    except StopIteration as end:
        return Done(end.value)
