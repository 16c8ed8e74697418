"""What commands write: results to standard output, progress and errors to standard error."""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import click

from rockstar_cli.failures import Failure

if TYPE_CHECKING:
    from tqdm import tqdm


_LONGEST_LINE = 1000


def color_wanted(environment: Mapping[str, str] = os.environ) -> bool | None:
    """Whether to use colours; None lets click decide by whether output goes to a terminal.

    NO_COLOR (https://no-color.org) takes precedence over FORCE_COLOR.
    """
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR"):
        return True
    return False if environment.get("TERM") == "dumb" else None


def echo_json(document: Any) -> None:
    """Print a document as one line of JSON and flush; NaN and infinity become null."""
    import msgspec  # here, to keep help fast

    click.echo(msgspec.json.encode(document))
    sys.stdout.flush()


def printable(text: str) -> str:
    r"""A text that is safe to print to a terminal: control characters are escaped, ESC as \x1b."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )


def echo_failure(failure: Failure) -> None:
    """Print an error in one line, and its hint in another."""
    line = printable(" ".join(failure.message.split()))
    if len(line) > _LONGEST_LINE:
        line = f"{line[:_LONGEST_LINE]}…"
    click.echo(
        f"{click.style('Error:', fg='red', bold=True)} {line}", err=True, color=color_wanted()
    )
    if failure.hint:
        click.echo(failure.hint, err=True)


def echo_step(text: str) -> None:
    """Print the next step of a long command to standard error."""
    click.echo(text, err=True)


def progress_shown() -> bool:
    """Whether standard error is a terminal that can show a progress bar."""
    return sys.stderr.isatty()


_GAP = "  "
_LEAST = 8


def table(
    rows: Sequence[Sequence[str]], *, right: Collection[int] = (), width: int | None = None
) -> str:
    """Align rows in columns; the first row is the header.

    Args:
        rows: each with the same number of cells.
        right: columns to align right.
        width: of a line in characters; None is the terminal's width, or no limit without a
            terminal. The last column is cut first, then the widest one.
    """
    width = _terminal_width() if width is None else width
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if width is not None:
        _fit(widths, width)
    return "\n".join(
        _GAP.join(
            f"{_cut(cell, size):>{size}}" if place in right else f"{_cut(cell, size):{size}}"
            for place, (cell, size) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _terminal_width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _fit(widths: list[int], width: int) -> None:
    """Narrow columns until a line fits, but none below a legible width."""
    for place in (len(widths) - 1, max(range(len(widths)), key=widths.__getitem__)):
        excess = sum(widths) + len(_GAP) * (len(widths) - 1) - width
        if excess > 0:
            widths[place] = max(min(_LEAST, widths[place]), widths[place] - excess)


def _cut(cell: str, size: int) -> str:
    return cell if len(cell) <= size else f"{cell[: size - 1]}…"


_LINE_EVERY_S = 10.0


class Progress:
    """Progress of a run of items: a bar on a terminal, else a line now and then."""

    def __init__(self, count: Callable[[], int | None]) -> None:
        """Make one; shows nothing before it is entered.

        Args:
            count: returns the number of items, or None if unknown; runs in its own thread.
        """
        self._count = count
        self._bar: tqdm[Any] | None = None
        self._began: tuple[float, int] | None = None
        self._printed = time.monotonic()

    def __enter__(self) -> Self:
        if progress_shown():
            from tqdm import tqdm

            tqdm.monitor_interval = 0  # no monitor thread
            self._bar = tqdm(unit=" items", dynamic_ncols=True, smoothing=0.1, leave=False)
            threading.Thread(target=self._find_total, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, items: int, failed: int) -> None:
        """Show how many items are done, and how many of them failed."""
        if self._began is None:
            # Items of an earlier run do not count for the rate.
            self._began = (time.monotonic(), items)
            if self._bar is not None:
                self._bar.initial = self._bar.n = items
        if self._bar is not None:
            self._bar.set_postfix_str(f"{failed:,} failed" if failed else "", refresh=False)
            self._bar.update(items - self._bar.n)
        elif time.monotonic() - self._printed > _LINE_EVERY_S:
            self._printed = time.monotonic()
            started, before = self._began
            rate = (items - before) / max(1e-9, time.monotonic() - started)
            click.echo(f"{items:,} items, {failed:,} failed, {rate:,.0f} items/s", err=True)

    def _find_total(self) -> None:
        total = self._count()
        if self._bar is not None and total is not None:
            self._bar.total = total
