"""Which columns made the answer for a row: replace one after the other by its typical value.

It is to rows what occlusion is to images, and asks nothing of a model but predictions. Columns are
replaced one at a time, so what only a combination of them says does not show.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_contract.table_cells import date_text
from rockstar_contract.tables import CategoricalColumn, Column, DateColumn


def replaced_rows(tensor: NDArray[np.float32], columns: Sequence[Column]) -> NDArray[np.float32]:
    """The row itself, then one copy for each column, in which that one is typical.

    Args:
        tensor: float32 [width], the row as the model takes it.
        columns: in the order of the tensor.

    Returns:
        float32 [1 + columns, width].
    """
    rows = np.repeat(tensor[np.newaxis], 1 + len(columns), axis=0)
    place = 0
    for row, column in zip(rows[1:], columns, strict=True):
        if isinstance(column, CategoricalColumn):
            block = column.encode([column.fill])
        else:
            block = column.encode([column.mean])
        row[place : place + column.width] = block[0]
        place += column.width
    return rows


def typical_value(column: Column) -> float | str | None:
    """What a column is replaced by: the mean in training, or the most frequent category.

    A date is written as text. None is no category, of models that do not know the most frequent.
    """
    if isinstance(column, DateColumn):
        return date_text(column.mean)
    return column.fill if isinstance(column, CategoricalColumn) else column.mean


def column_effects(scores: NDArray[Any]) -> NDArray[np.float64]:
    """By how much each column raised a score above what it is with the typical value.

    Args:
        scores: float [1 + columns], of the rows above.

    Returns:
        float64 [columns]; negative where the column lowered it.
    """
    wide = scores.astype(np.float64)
    effects: NDArray[np.float64] = wide[0] - wide[1:]
    return effects
