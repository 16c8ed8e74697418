"""What every client's `predict` returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_contract import labels
from rockstar_contract.contract import Contract
from rockstar_contract.labels import Score, Value
from rockstar_contract.tables import Adjustments

# Inputs that are drawn; of more, only how many there are is said.
_MOST_ROWS = 20
# A notebook may be light or dark: the colours are its own, but for the bars.
_BAR = "background:#4c78a8;height:.8em;border-radius:2px"
_LABEL = "font-size:1.6em;min-width:2em;flex:none;white-space:nowrap"
_TABLE = "border:none;color:inherit"
_CELL = "border:none;padding:1px 8px;text-align:left;white-space:nowrap"


@dataclass(frozen=True)
class Prediction:
    """What a classification said of one example.

    Attributes:
        label: the likeliest; None where the model is not sure.
        score: the probability of the likeliest.
        top: the likeliest labels with theirs, in order.
        labels: all that the model knows, in its order.
        probabilities: float32 [labels], of each.
        reason: why there is no label; empty where there is one.
    """

    label: str | None
    score: float
    top: tuple[Score, ...]
    labels: tuple[str, ...] = field(repr=False)
    probabilities: NDArray[np.float32] = field(repr=False, compare=False)
    reason: str = ""

    def __repr__(self) -> str:
        top = ", ".join(f"{each.label} {each.score:.4f}" for each in self.top)
        return f"Prediction({self.label!r}, {self.score:.4f}; {top})"

    def _repr_html_(self) -> str:
        """For notebooks: the label, and the likeliest as bars."""
        return _bars("not sure" if self.label is None else self.label, self.top)


@dataclass(frozen=True)
class Answer:
    """What a model said of the inputs, in their order.

    Attributes:
        model: its name.
        version: the one that answered.
        predictions: of a classification, else empty.
        values: of a regression, else empty.
        labels: of a classification, in the model's order, else empty.
        probabilities: float32 [inputs, labels], of each label; [0, 0] without labels.
        outputs: of a model that answers tensors, arrays [inputs, …] by name, else empty; strings
            are bytes in an array of objects.
        adjusted: what was imputed, taken as "other" or ignored in rows of a table, by the position
            of the input. A gateway lists ignored columns once for all rows of a request.
    """

    model: str
    version: int
    predictions: tuple[Prediction, ...] = ()
    values: tuple[Value, ...] = ()
    labels: tuple[str, ...] = field(default=(), repr=False)
    probabilities: NDArray[np.float32] = field(
        default_factory=lambda: np.zeros((0, 0), np.float32), repr=False, compare=False
    )
    outputs: Mapping[str, NDArray[Any]] = field(default_factory=dict, compare=False)
    adjusted: Mapping[int, Adjustments] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        """For notebooks: one line for each input, or for each tensor."""
        rows = [prediction._repr_html_() for prediction in self.predictions]
        rows += [f"{each.value:g}" for each in self.values]
        rows += [f"{name}: {array.dtype} {[*array.shape]}" for name, array in self.outputs.items()]
        return _listing(f"{self.model} version {self.version}", rows)


def answer_of(
    model: str,
    contract: Contract,
    outputs: NDArray[Any],
    top: int,
    adjusted: Mapping[int, Adjustments],
) -> Answer:
    """What outputs mean.

    Args:
        model: by the name that it was asked by.
        contract: of the version that answered.
        outputs: float [n, labels], probabilities; for a regression [n, 1], the numbers.
        top: how many labels to list for each.
        adjusted: what was changed in rows of a table, by position.
    """
    if contract.task == "regression":
        values = tuple(labels.values(outputs))
        return Answer(model, contract.version, values=values, adjusted=adjusted)
    # Read-only: predictions and answer share the numbers.
    probabilities = np.array(outputs, np.float32)
    probabilities.flags.writeable = False
    named = labels.predictions(probabilities, contract.labels, top, contract.threshold)
    predictions = tuple(
        Prediction(each.label, each.score, each.top, contract.labels, row, each.reason)
        for each, row in zip(named, probabilities, strict=True)
    )
    return Answer(
        model,
        contract.version,
        predictions,
        labels=contract.labels,
        probabilities=probabilities,
        adjusted=adjusted,
    )


def _bars(label: str, top: Sequence[Score]) -> str:
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


def _listing(title: str, rows: Sequence[str]) -> str:
    """A title over rows of HTML, numbered as the inputs are."""
    shown = "".join(
        f"<tr><td style='{_CELL};opacity:.6'>{index}</td><td style='{_CELL}'>{row}</td></tr>"
        for index, row in enumerate(rows[:_MOST_ROWS])
    )
    left = len(rows) - _MOST_ROWS
    more = f"<div style='opacity:.6'>and {left} more</div>" if left > 0 else ""
    return f"<div><div>{escape(title)}</div><table style='{_TABLE}'>{shown}</table>{more}</div>"
