"""Calls of several requests in an event loop; apart, for asyncio takes its time to import."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any

from rockstar_client.steps import Asked, Done, Result, advance


async def run_async(
    steps: Generator[Asked, Any, Result], ask: Callable[[Asked], Awaitable[Any]]
) -> Result:
    """The result of a call; reading files, images and answers is left to a thread."""
    step = await asyncio.to_thread(advance, partial(next, steps))
    while not isinstance(step, Done):
        try:
            answer = await ask(step)
        except Exception as error:
            resume = partial(steps.throw, error)
        else:
            resume = partial(steps.send, answer)
        step = await asyncio.to_thread(advance, resume)
    result: Result = step.result
    return result
