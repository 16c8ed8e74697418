"""Calls of several requests, written once for blocking and asynchronous clients.

A call is a generator without I/O: it yields a request, is sent the response or the exception, and
returns its result.
"""

from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any, TypeVar

import msgspec

Asked = TypeVar("Asked")
Result = TypeVar("Result")


class Done(msgspec.Struct, frozen=True):
    """The result of a call that has ended."""

    result: Any


def run(steps: Generator[Asked, Any, Result], send: Callable[[Asked], Any]) -> Result:
    """Return the result of a call; `send` makes its requests."""
    step = _advance(partial(next, steps))
    while not isinstance(step, Done):
        try:
            response = send(step)
        except Exception as error:
            step = _advance(partial(steps.throw, error))
        else:
            step = _advance(partial(steps.send, response))
    result: Result = step.result
    return result


async def run_async(
    steps: Generator[Asked, Any, Result], send: Callable[[Asked], Awaitable[Any]]
) -> Result:
    """The same in an event loop; a thread reads files, images and responses."""
    # Imported here: blocking clients start sooner without it.
    import asyncio

    step = await asyncio.to_thread(_advance, partial(next, steps))
    while not isinstance(step, Done):
        try:
            response = await send(step)
        except Exception as error:
            resume = partial(steps.throw, error)
        else:
            resume = partial(steps.send, response)
        step = await asyncio.to_thread(_advance, resume)
    result: Result = step.result
    return result


def _advance(resume: Callable[[], Asked]) -> Asked | Done:
    try:
        return resume()
    except StopIteration as end:
        return Done(end.value)
