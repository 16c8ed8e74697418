"""A bulk run: predict a stream of items of any length into files, in bounded memory."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import reduce
from itertools import islice

from rockstar_client.bulk import DEFAULT_PACE, BulkError, Pace, ResumeError
from rockstar_client.bulk.batch_client import BatchClient, PredictBatch
from rockstar_client.bulk.items import Item, Result
from rockstar_client.bulk.output import Output, extend_chain

# Seconds of work that a kill can lose.
_SAVE_INTERVAL_S = 2.0


@dataclass(frozen=True)
class Summary:
    """The numbers of items and of failed ones, including those of the runs that it continued."""

    items: int
    failed: int
    skipped: int  # that earlier runs had done
    seconds: float  # duration of this run

    @property
    def rate(self) -> float:
        """Items per second of this run."""
        return (self.items - self.skipped) / self.seconds if self.seconds else 0.0


def predict_items(
    items: Iterable[Item], predict: PredictBatch, pace: Pace = DEFAULT_PACE
) -> Generator[list[Result]]:
    """Predict items batch by batch and yield the results in their order.

    Items are read as they are needed: at most 2 * pace.concurrency batches are in memory. A
    CallError means that the service cannot be used; the results yielded before are valid.
    """
    most = pace.batch

    def shrink(fewer: int) -> None:
        nonlocal most
        most = max(1, min(most, fewer))

    client = BatchClient(predict, patience=pace.patience, on_too_many=shrink)
    window: deque[Future[list[Result]]] = deque()
    with ThreadPoolExecutor(pace.concurrency, thread_name_prefix="predict") as pool:
        try:
            for batch in batches(items, lambda: most, pace.batch_bytes):
                window.append(pool.submit(client.predict, batch))
                # One more per request in flight, so that a slow first batch stalls no thread.
                while len(window) >= 2 * pace.concurrency or (window and window[0].done()):
                    yield window.popleft().result()
            while window:
                yield window.popleft().result()
        finally:
            client.stop()
            for future in window:
                future.cancel()


def batches(
    items: Iterable[Item], max_items: Callable[[], int], max_bytes: int
) -> Iterator[list[Item]]:
    """Cut items into batches of one kind: files, or rows with the same columns.

    An item with more than `max_bytes` bytes of content is a batch of its own.
    """
    batch: list[Item] = []
    held = 0
    for item in items:
        full = len(batch) >= max_items() or held + item.size > max_bytes
        if batch and (full or item.columns != batch[0].columns):
            yield batch
            batch, held = [], 0
        batch.append(item)
        held += item.size
    if batch:
        yield batch


def run(
    items: Iterable[Item],
    predict: PredictBatch,
    output: Output,
    pace: Pace = DEFAULT_PACE,
    on_progress: Callable[[int, int], None] = lambda _items, _failed: None,
) -> Summary:
    """Predict all items that are not done yet, and complete the output.

    Args:
        items: the same, in the same order, as in the runs that this one continues.
        predict: the service, see `over_http` and `over_backend`.
        output: stays open. The run can be continued after any exception.
        pace: batch size and concurrency.
        on_progress: called with the numbers of done and of failed items.

    Raises:
        CallError: the service cannot be used, or was unavailable for longer than the patience.
        BulkError: there are no items.
        ResumeError: the items differ from those of the run that this one continues.
    """
    started = time.monotonic()
    skipped = output.state.items
    if not output.state.finished:
        rest = iter(items)
        chain = reduce(extend_chain, islice(rest, skipped), b"")
        if chain.hex() != output.state.chain:
            raise ResumeError(
                f"the input has changed since the run started: items among its first {skipped:,} "
                "were added, removed or changed; use --restart to start over"
            )
        on_progress(skipped, output.state.failed)
        saved = time.monotonic()
        try:
            with closing(predict_items(rest, predict, pace)) as batches:
                for results in batches:
                    output.write(results)
                    on_progress(output.state.items, output.state.failed)
                    if time.monotonic() - saved > _SAVE_INTERVAL_S:
                        output.save()
                        saved = time.monotonic()
        finally:
            # If the disk is full, the state saved before remains valid.
            with suppress(OSError):
                output.save()
    if not output.state.items:
        raise BulkError("there is nothing to predict")
    output.finish()
    seconds = time.monotonic() - started
    return Summary(output.state.items, output.state.failed, skipped, seconds)
