"""How answers look in notebooks: HTML with bars, no script, and labels that break nothing."""

from collections.abc import Sequence
from html import escape

from rockstar_contract.labels import Score

# Inputs that are drawn; of more, only how many there are is said.
_MOST_ROWS = 20
# A notebook may be light or dark: the colours are its own, but for the bars.
_BAR = "background:#4c78a8;height:.8em;border-radius:2px"
_LABEL = "font-size:1.6em;min-width:2em;flex:none;white-space:nowrap"
_TABLE = "border:none;color:inherit"
_CELL = "border:none;padding:1px 8px;text-align:left;white-space:nowrap"


def bars(label: str, top: Sequence[Score]) -> str:
    """A label, and a bar for each of the likeliest."""
    rows = "".join(
        f"<tr><td style='{_CELL}'>{escape(each.label)}</td>"
        f"<td style='{_CELL}'><div style='width:9em'>"
        f"<div style='{_BAR};width:{100 * min(max(each.score, 0.0), 1.0):.1f}%'></div></div></td>"
        f"<td style='{_CELL};text-align:right'>{each.score:.4f}</td></tr>"
        for each in top
    )
    return (
        "<div style='display:flex;align-items:center;gap:1em'>"
        f"<strong style='{_LABEL}'>{escape(label)}</strong>"
        f"<table style='{_TABLE};margin:0'>{rows}</table></div>"
    )


def listing(title: str, rows: Sequence[str]) -> str:
    """A title over rows of HTML, numbered as the inputs are."""
    shown = "".join(
        f"<tr><td style='{_CELL};opacity:.6'>{index}</td><td style='{_CELL}'>{row}</td></tr>"
        for index, row in enumerate(rows[:_MOST_ROWS])
    )
    left = len(rows) - _MOST_ROWS
    more = f"<div style='opacity:.6'>and {left} more</div>" if left > 0 else ""
    return f"<div><div>{escape(title)}</div><table style='{_TABLE}'>{shown}</table>{more}</div>"
