"""Granian with RSGI and two workers, which only decodes and runs the model.

`create_bare` runs the model in the event loop, one request at a time. `create_batching` runs it in
a thread; a batch is whatever arrived while the previous one ran.
https://github.com/emmett-framework/granian/blob/master/docs/spec/RSGI.md
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

from classifier import (
    Floats,
    decode_body,
    encode_predictions,
    from_environment,
    joined,
    log_request,
    split,
)

MAX_BATCH = 32
JSON = [("content-type", "application/json")]
Application = Callable[[Any, Any], Awaitable[None]]
Pending = tuple[Floats, "asyncio.Future[Floats]"]


def create_bare() -> Application:
    """Create an application that runs the model in the event loop."""
    model = from_environment()

    async def application(scope: Any, protocol: Any) -> None:  # noqa: ARG001
        images = decode_body(await protocol())
        protocol.response_bytes(200, JSON, encode_predictions(model.predict(images)))

    return application


def create_batching() -> Application:
    """Create an application that batches requests."""
    model = from_environment()
    queue: SimpleQueue[Pending] = SimpleQueue()
    Thread(target=run_batches, args=(model.predict, queue), daemon=True).start()

    async def application(scope: Any, protocol: Any) -> None:  # noqa: ARG001
        started = time.perf_counter()
        future: asyncio.Future[Floats] = asyncio.get_running_loop().create_future()
        queue.put((decode_body(await protocol()), future))
        protocol.response_bytes(200, JSON, encode_predictions(await future))
        log_request(started)

    return application


def run_batches(predict: Callable[[Floats], Floats], queue: "SimpleQueue[Pending]") -> None:
    """Run all waiting requests as one batch, again and again."""
    while True:
        batch = [queue.get()]
        while len(batch) < MAX_BATCH and not queue.empty():
            batch.append(queue.get())
        images = [each for each, _ in batch]
        results = split(predict(joined(images)), images)
        batch[0][1].get_loop().call_soon_threadsafe(resolve, batch, results)


def resolve(batch: list[Pending], results: list[Floats]) -> None:
    """Give each request its result."""
    for (_, future), result in zip(batch, results, strict=True):
        if not future.done():
            future.set_result(result)
