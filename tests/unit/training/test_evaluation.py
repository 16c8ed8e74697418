"""Permutation importance, compared with scikit-learn's on a plain matrix."""

import numpy as np
import pytest
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression

from rockstar_contract.tables import CategoricalColumn, NumericColumn
from rockstar_training.evaluation import column_importance
from tests.unit.training.small_data import make_part


def numbers(names):
    return tuple(NumericColumn(name=name, mean=0.0, scale=1.0) for name in names)


def test_columns_of_numbers_are_ranked_as_scikit_learn_does():
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 3)).astype(np.float32)
    y = (x @ [0.5, 2.0, 0.0] > 0).astype(np.int64)
    model = LogisticRegression().fit(x, y)
    found = column_importance(model.predict_proba, make_part(x, y), numbers("abc"), 2, seed=5)
    theirs = permutation_importance(
        model, x, y, scoring="balanced_accuracy", n_repeats=10, random_state=5
    )
    assert [column.name for column in found] == ["b", "a", "c"]
    for column, place in zip(found, (1, 0, 2), strict=True):
        assert column.mean == pytest.approx(theirs.importances_mean[place])
        assert column.std == pytest.approx(theirs.importances_std[place])


def test_a_category_is_shuffled_as_a_whole():
    random = np.random.default_rng(0)
    category = random.integers(0, 3, 200)
    tensors = np.concatenate([np.eye(3)[category], random.normal(size=(200, 1))], axis=1)
    sums: set[float] = set()

    def answer(batch):
        sums.update(batch[:, :3].sum(axis=1).tolist())
        return batch[:, :1] * 5 + batch[:, 1:2]

    values = (tensors[:, 0] * 5 + tensors[:, 1]).astype(np.float32)
    columns = (CategoricalColumn(name="kind", categories=("x", "y", "z")), *numbers("v"))
    found = column_importance(answer, make_part(tensors, values), columns, 0, seed=1)
    assert [column.name for column in found] == ["kind", "v"]
    assert found[0].mean > 1
    assert found[1].mean == 0
    # Each row has exactly one category.
    assert sums == {1.0}


def test_too_few_rows_tell_nothing():
    rows = make_part(np.ones((5, 1)), np.arange(5) % 2)
    assert column_importance(lambda batch: batch, rows, numbers("a"), 2, seed=1) == []
