"""A bulk run: items from a source, through a service, into files; any number, in bounded memory."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice

from rockstar_client.bulk.asking import Ask, Asker
from rockstar_client.bulk.batches import Batcher
from rockstar_client.bulk.errors import BulkError, ResumeError
from rockstar_client.bulk.item import Failed, Item, Outcome
from rockstar_client.bulk.output import Output
from rockstar_client.bulk.pace import DEFAULT_PACE, Pace
from rockstar_client.bulk.sinks.rows import FailedRow, Row
from rockstar_client.bulk.state import Chain

# As much work is done again after a kill.
_SAVED_EVERY_S = 2.0

_Answers = Future[list[tuple[int, Outcome]]]


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        items: all of them, with those of the runs that it continued.
        failed: how many of them.
        skipped: how many were done by the runs that it continued.
        seconds: that this run took.
    """

    items: int
    failed: int
    skipped: int
    seconds: float

    @property
    def rate(self) -> float:
        """Items per second of this run."""
        return (self.items - self.skipped) / self.seconds if self.seconds else 0.0


def answers(
    items: Iterable[Item],
    ask: Ask,
    pace: Pace = DEFAULT_PACE,
) -> Generator[list[tuple[Item, int, Outcome]]]:
    """What a service says of items, batch by batch, in their order.

    Some batches are in flight, some answered and waiting for their turn; no more are read.

    Args:
        items: read as they are needed.
        ask: the service.
        pace: how hard it is asked.

    Yields:
        For each item of a batch: it, the version that answered (0 where none did), its outcome.

    Raises:
        CallError: the service cannot be used; what was yielded before holds.
    """
    batcher = Batcher(pace.batch, pace.batch_bytes)
    asker = Asker(ask, patience=pace.patience, too_many=batcher.shrink)
    window: deque[tuple[list[Item], _Answers]] = deque()
    with ThreadPoolExecutor(pace.concurrency, thread_name_prefix="ask") as pool:
        try:
            for batch in batcher.cut(items):
                window.append((batch, pool.submit(asker, batch)))
                # One more for each that is in flight, so that nobody waits for the first in line.
                while len(window) >= 2 * pace.concurrency or (window and window[0][1].done()):
                    yield _first(window)
            while window:
                yield _first(window)
        finally:
            asker.stop()
            for _, future in window:
                future.cancel()


def _first(window: deque[tuple[list[Item], _Answers]]) -> list[tuple[Item, int, Outcome]]:
    batch, future = window[0]
    found = future.result()
    window.popleft()
    return [(item, *each) for item, each in zip(batch, found, strict=True)]


def run(
    items: Iterable[Item],
    ask: Ask,
    output: Output,
    pace: Pace = DEFAULT_PACE,
    on_progress: Callable[[int, int], None] = lambda _items, _failed: None,
) -> Summary:
    """Do all items that are not done yet, and finish the output.

    Args:
        items: the same ones in the same order as in the runs that this one continues.
        ask: the service.
        output: open; stays open. Whatever this raises, it can be continued.
        pace: how hard the service is asked.
        on_progress: told how many items are done and how many of them failed.

    Raises:
        CallError: the service cannot be used, or stayed away for longer than the patience.
        BulkError: there are no items.
        ResumeError: the items are not those that the run began with.
        OSError: the output cannot be written.
    """
    started = time.monotonic()
    skipped = output.state.items
    if not output.state.finished:
        rest = iter(items)
        chain = _skip(rest, output)
        on_progress(skipped, output.state.failed)
        try:
            with closing(answers(rest, ask, pace)) as found:
                _write_all(found, output, chain, on_progress)
        finally:
            # Where the disk is full, the state before stays true.
            with suppress(OSError):
                output.save()
    if not output.state.items:
        raise BulkError("there is nothing to predict")
    output.finish()
    seconds = time.monotonic() - started
    return Summary(output.state.items, output.state.failed, skipped, seconds)


def _skip(items: Iterator[Item], output: Output) -> Chain:
    """Pass over what is done, and check that it still is what was there."""
    state, chain = output.state, Chain()
    passed = 0
    for item in islice(items, state.items):
        chain.add(item)
        passed += 1
    if passed < state.items or chain.value != state.chain:
        raise ResumeError(
            f"the input is not what it was when the run began: something among its first "
            f"{state.items:,} items was added, removed or changed; --restart begins anew"
        )
    return chain


def _write_all(
    found: Iterator[list[tuple[Item, int, Outcome]]],
    output: Output,
    chain: Chain,
    on_progress: Callable[[int, int], None],
) -> None:
    saved = time.monotonic()
    for batch in found:
        rows, failed = [], []
        for item, version, outcome in batch:
            chain.add(item)
            if isinstance(outcome, Failed):
                failed.append(FailedRow(item.name, outcome))
            else:
                rows.append(Row(item.name, outcome, version))
        output.write(rows, failed, chain.value)
        on_progress(output.state.items, output.state.failed)
        if time.monotonic() - saved > _SAVED_EVERY_S:
            output.save()
            saved = time.monotonic()
