"""Calls of several requests, written once for clients that block and clients that do not.

A call is a generator: it yields what is to be asked, gets the answer or the exception sent back,
and returns its result. It does no I/O with the server; only these two functions, or rather the
function that they are given, does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

Asked = TypeVar("Asked")
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Done:
    """A call came to its end."""

    result: Any


def run(steps: Generator[Asked, Any, Result], ask: Callable[[Asked], Any]) -> Result:
    """The result of a call, with a function that answers what it asks."""
    step = _advance(partial(next, steps))
    while not isinstance(step, _Done):
        try:
            answer = ask(step)
        except Exception as error:
            step = _advance(partial(steps.throw, error))
        else:
            step = _advance(partial(steps.send, answer))
    result: Result = step.result
    return result


async def run_async(
    steps: Generator[Asked, Any, Result], ask: Callable[[Asked], Awaitable[Any]]
) -> Result:
    """The same in an event loop: reading files, images and answers is left to a thread."""
    step = await asyncio.to_thread(_advance, partial(next, steps))
    while not isinstance(step, _Done):
        try:
            answer = await ask(step)
        except Exception as error:
            resume = partial(steps.throw, error)
        else:
            resume = partial(steps.send, answer)
        step = await asyncio.to_thread(_advance, resume)
    result: Result = step.result
    return result


def _advance(resume: Callable[[], Asked]) -> Asked | _Done:
    try:
        return resume()
    except StopIteration as end:
        return _Done(end.value)
