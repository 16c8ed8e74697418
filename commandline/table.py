"""Tables of text: columns in line, and no wider than the terminal that shows them."""

import shutil
import sys
from collections.abc import Collection, Sequence

_GAP = "  "
_LEAST = 8


def table(
    rows: Sequence[Sequence[str]], *, right: Collection[int] = (), width: int | None = None
) -> str:
    """Rows as lines; the first one is the head.

    Args:
        rows: of equally many cells.
        right: columns of figures, which end in line instead of starting there.
        width: of a line, in characters; where it is None, the terminal's, or no limit where no
            terminal reads. The last column gives way, then the widest one.
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
    """Make columns narrower until a line fits, but none so narrow that it says nothing."""
    for place in (len(widths) - 1, max(range(len(widths)), key=widths.__getitem__)):
        excess = sum(widths) + len(_GAP) * (len(widths) - 1) - width
        if excess > 0:
            widths[place] = max(min(_LEAST, widths[place]), widths[place] - excess)


def _cut(cell: str, size: int) -> str:
    return cell if len(cell) <= size else f"{cell[: size - 1]}…"
