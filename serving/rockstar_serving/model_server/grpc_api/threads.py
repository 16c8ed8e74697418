"""Threads for calls that must not wait behind predictions."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any


def with_threads(
    behaviour: Callable[..., Any], pool: ThreadPoolExecutor, *, non_blocking: bool = False
) -> Any:
    """What handles a method, in threads of its own instead of those that the server has for all.

    Args:
        behaviour: of the method.
        pool: its threads.
        non_blocking: whether it takes a function that sends answers instead of giving them back.
    """
    apart: Any = partial(behaviour)
    # Where gRPC looks for it (grpc/_server.py).
    apart.experimental_thread_pool = pool
    apart.experimental_non_blocking = non_blocking
    return apart
