"""How far a long run is, on stderr: a bar for people, now and then a line for logs."""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import click

from commandline.output import progress_shown

if TYPE_CHECKING:
    from tqdm import tqdm

_LINE_EVERY_S = 10.0


class Progress:
    """Told the number of items that are done and that failed; a context manager."""

    def __init__(self, count: Callable[[], int | None]) -> None:
        """Show nothing yet.

        Args:
            count: how many items there are, if that is known; called in a thread of its own.
        """
        self._count = count
        self._bar: tqdm[Any] | None = None
        self._began: tuple[float, int] | None = None
        self._said = time.monotonic()

    def __enter__(self) -> Self:
        if progress_shown():
            from tqdm import tqdm

            tqdm.monitor_interval = 0  # else a thread of its own
            self._bar = tqdm(unit=" items", dynamic_ncols=True, smoothing=0.1, leave=False)
            threading.Thread(target=self._find_total, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, items: int, failed: int) -> None:
        """Show that so many items are done, and so many of them failed."""
        if self._began is None:
            # What was done before this run does not count for its rate.
            self._began = (time.monotonic(), items)
            if self._bar is not None:
                self._bar.initial = self._bar.n = items
        if self._bar is not None:
            self._bar.set_postfix_str(f"{failed:,} failed" if failed else "", refresh=False)
            self._bar.update(items - self._bar.n)
        elif time.monotonic() - self._said > _LINE_EVERY_S:
            self._said = time.monotonic()
            started, before = self._began
            rate = (items - before) / max(1e-9, time.monotonic() - started)
            click.echo(f"{items:,} items, {failed:,} failed, {rate:,.0f} items/s", err=True)

    def _find_total(self) -> None:
        total = self._count()
        if self._bar is not None and total is not None:
            self._bar.total = total
