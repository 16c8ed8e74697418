"""How long a request may take (`--rest_api_timeout_in_ms`)."""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from serving.api.status import Code, StatusError
from serving.model_server.deadline import NO_DEADLINE, Deadline, DeadlineExceededError

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class TimeLimit:
    """Runs requests in threads of its own, and stops waiting for those that take too long.

    A model that runs cannot be interrupted: it keeps its thread until it is done, and its answer is
    dropped. So there are never more such runs than threads; while they hold all of them, further
    requests wait for one until their own time is over, and are then not begun.
    """

    def __init__(self, seconds: float | None, threads: int) -> None:
        """Make a limit.

        Args:
            seconds: for one request; None for no limit.
            threads: requests that run at once.
        """
        self._seconds = seconds
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="rest") if seconds else None
        self._abandoned: set[Future[Any]] = set()

    def run(self, work: Callable[[Deadline], Answer], since: float) -> Answer:
        """What the work returns or raises.

        Args:
            work: is given its deadline.
            since: when the request had come, on the clock of time.monotonic().

        Raises:
            StatusError: DEADLINE_EXCEEDED, it took too long.
        """
        if self._pool is None or self._seconds is None:
            return work(NO_DEADLINE)
        deadline = Deadline(since + self._seconds)
        deadline.check()
        future = self._pool.submit(work, deadline)
        try:
            return future.result(deadline.remaining())
        except TimeoutError:
            if future.done():  # just now, or the work itself raised this
                return future.result()
            if future.cancel():
                raise DeadlineExceededError from None
        self._abandoned.add(future)
        future.add_done_callback(self._forget)
        raise StatusError(
            Code.DEADLINE_EXCEEDED,
            f"the model was still running after {self._seconds * 1000:.0f} ms "
            "(--rest_api_timeout_in_ms)",
        )

    def close(self) -> bool:
        """Take no more work.

        Returns:
            Whether all runs are done, those too that nobody waits for any more.
        """
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        return not self._abandoned

    def _forget(self, future: Future[Any]) -> None:
        self._abandoned.discard(future)
        error = future.exception()
        if error is not None and not isinstance(error, StatusError):
            log.error("a request that took too long failed", exc_info=error)
