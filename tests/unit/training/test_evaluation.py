"""Metrics and permutation importance, compared with those of scikit-learn."""

import numpy as np
import pytest
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss, roc_auc_score

from rockstar_contract.tables import CategoricalColumn, NumericColumn
from rockstar_training.evaluation import classification_metrics, column_importance
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


def test_of_many_columns_those_that_move_the_outputs_are_measured():
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 300)).astype(np.float32)
    weights = np.where(np.arange(300) % 7 == 3, 0.1, 0.0)
    weights[[17, 203]] = [1.0, 3.0]
    names = [f"gene {place}" for place in range(300)]
    found = column_importance(
        lambda batch: batch @ weights[:, np.newaxis],
        make_part(x, (x @ weights).astype(np.float32)),
        numbers(names),
        0,
        seed=1,
    )
    assert [column.name for column in found[:2]] == ["gene 203", "gene 17"]
    assert len(found) == 100


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


@pytest.mark.parametrize("classes", [2, 4])
def test_metrics_are_those_of_scikit_learn(classes):
    random = np.random.default_rng(0)
    truth = random.integers(0, classes, 300)
    scores = random.dirichlet(np.ones(classes), 300)
    scores[np.arange(300), truth] += 0.3
    scores = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    metrics = classification_metrics(scores, truth)
    guesses = scores.argmax(axis=1)
    area = (
        roc_auc_score(truth, scores[:, 1])
        if classes == 2
        else roc_auc_score(truth, scores / scores.sum(axis=1, keepdims=True), multi_class="ovr")
    )
    assert metrics == pytest.approx(
        {
            "test_accuracy": np.mean(guesses == truth),
            "test_balanced_accuracy": balanced_accuracy_score(truth, guesses),
            "test_f1": f1_score(truth, guesses, average="macro"),
            "test_auc": area,
            "test_loss": log_loss(truth, scores),
        },
        rel=1e-5,
    )


def test_metrics_of_held_out_rows_that_lack_a_class():
    scores = np.eye(3, dtype=np.float32)[[0, 0, 1, 2]]
    metrics = classification_metrics(scores, np.array([0, 0, 1, 1]))
    assert metrics["test_balanced_accuracy"] == 0.75
    assert metrics["test_auc"] == 0.875
    assert "test_auc" not in classification_metrics(scores[:2], np.array([0, 0]))
