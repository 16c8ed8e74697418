"""Permutation importance: how much worse a model gets when one column's values are shuffled.

The method is that of Breiman, "Random forests" (2001), as scikit-learn computes it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_contract.tables import Column
from rockstar_training.evaluation import Answer
from rockstar_training.prepared import Part
from rockstar_training.report.data import ColumnImportance

_REPEATS = 10
# More rows than this change nothing that can be seen.
_MOST_ROWS = 2000
# Fewer than this tell nothing.
_FEWEST_ROWS = 10


def column_importance(
    answer: Answer, part: Part, columns: tuple[Column, ...], labels: int, seed: int
) -> list[ColumnImportance]:
    """The columns of a table, the most important first.

    Args:
        answer: the model.
        part: held-out rows.
        columns: as the model takes them.
        labels: how many there are; 0 for a regression.
        seed: of the shuffling.

    Returns:
        By how much balanced accuracy, or R², falls; none where there are too few rows.
    """
    from sklearn.inspection import permutation_importance
    from sklearn.metrics import r2_score, recall_score

    rows = np.arange(part.count)
    if part.count > _MOST_ROWS:
        rows = np.random.default_rng(seed).choice(rows, _MOST_ROWS, replace=False)
    truth, tensors = part.targets[rows], part.tensors(rows)
    if len(rows) < _FEWEST_ROWS or np.ptp(truth) == 0:
        return []
    # Squares of large values would leave what floats can hold.
    scale = 1.0 if labels else float(np.abs(truth.astype(np.float64)).max())
    ends = np.cumsum([column.width for column in columns])
    blocks = np.split(tensors, ends[:-1], axis=1)

    def score(_model: object, places: NDArray[np.int64], truth: NDArray[Any]) -> float:
        """Of rows that are put together of columns of other rows, [n, columns]."""
        shuffled = [block[chosen] for block, chosen in zip(blocks, places.T, strict=True)]
        outputs = answer(np.concatenate(shuffled, axis=1))
        if not labels:
            return float(r2_score(truth / scale, outputs[:, 0].astype(np.float64) / scale))
        guesses = outputs.argmax(axis=1)
        return float(
            recall_score(
                truth, guesses, labels=np.unique(truth), average="macro", zero_division=0.0
            )
        )

    # scikit-learn shuffles the columns of a matrix; ours may be several values wide.
    matrix = np.repeat(np.arange(len(rows))[:, np.newaxis], len(columns), axis=1)
    found = permutation_importance(
        _Model(), matrix, truth, scoring=score, n_repeats=_REPEATS, random_state=seed
    )
    measured = [
        ColumnImportance(column.name, float(mean), float(std))
        for column, mean, std in zip(
            columns, found.importances_mean, found.importances_std, strict=True
        )
    ]
    return sorted(measured, key=lambda column: -column.mean)


class _Model:
    """What scikit-learn takes for a model; `scoring` asks the real one."""

    def fit(self) -> None:
        """There is nothing to fit."""
