"""Tables of a few rows: as accurate as scikit-learn on the same rows."""

import re

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.metrics import (
    balanced_accuracy_score,
    f1_score,
    log_loss,
    recall_score,
    roc_auc_score,
)

from rockstar_training.config import config_for
from rockstar_training.evaluation import classification_metrics
from rockstar_training.progress import summarize
from rockstar_training.train import train_and_evaluate
from tests.unit.training.small_data import write_csv


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


def test_a_logistic_model_of_iris_is_as_good_as_scikit_learns(tmp_path):
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    iris = load_iris()
    names = iris.target_names[iris.target]
    rows = [[*x, name] for x, name in zip(iris.data, names, strict=True)]
    data = write_csv(tmp_path / "iris.csv", [*"abcd", "species"], rows)
    result = train_and_evaluate(config_for("logistic", data=data, target="species"), tmp_path)
    test = result.test.indices
    train = np.setdiff1d(np.arange(150), test)
    # No row is spent on early stopping.
    assert result.contract.statistics.examples == len(train) == 120
    scaler = StandardScaler().fit(iris.data[train])
    theirs = LogisticRegression(max_iter=1000).fit(
        scaler.transform(iris.data[train]), iris.target[train]
    )
    np.testing.assert_allclose(
        result.test.outputs, theirs.predict_proba(scaler.transform(iris.data[test])), atol=0.01
    )
    report = (result.run_folder / "report.html").read_text()
    assert "Importance of the columns" in report
    assert report.index('<th scope="row">d</th>') < report.index('<th scope="row">b</th>')
    assert (result.run_folder / "importance.png").stat().st_size > 5000


@pytest.fixture(scope="module")
def imbalanced(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rare")
    random = np.random.default_rng(1)
    ill = random.random(600) < 0.05
    x = random.normal(size=(600, 3)) + ill[:, None] * [1.5, 0, 0]
    rows = [[*row, "ill" if sick else "well"] for row, sick in zip(x, ill, strict=True)]
    return write_csv(folder / "rare.csv", [*"abc", "state"], rows)


def test_a_rare_class_counts_as_much_as_a_frequent_one(imbalanced, tmp_path):
    def trained(weights):
        config = config_for("logistic", data=imbalanced, target="state", class_weights=weights)
        return train_and_evaluate(config, tmp_path)

    alike, plain = trained("auto"), trained("none")
    found = [
        recall_score(r.test.truth, r.test.outputs.argmax(axis=1), pos_label=0)
        for r in (alike, plain)
    ]
    assert found[0] > 0.5 > found[1]
    better = "test_balanced_accuracy"
    assert alike.metrics[better] > plain.metrics[better]
    assert "label 'ill' (4.4 %), so the loss is weighted" in " ".join(alike.notes)
    assert not any("weighted" in note for note in plain.notes)
    assert re.search(r"balanced 0\.\d{4}, F1 0\.\d{4}, AUC 0\.\d{4}", summarize(alike))


def test_a_headline_that_is_the_majority_share_is_noted(tmp_path):
    random = np.random.default_rng(1)
    rows = [[random.normal(), "yes" if i % 4 == 0 else "no"] for i in range(200)]
    data = write_csv(tmp_path / "noise.csv", ["x", "answer"], rows)
    result = train_and_evaluate(config_for("logistic", data=data, target="answer"), tmp_path)
    assert result.metrics["test_accuracy"] == 0.75
    note = "no better than always answering 'no', which is right for 0.7500"
    assert note in " ".join(result.notes)
    assert note in (result.run_folder / "report.html").read_text().replace("&#39;", "'")


@pytest.mark.parametrize("model", ["linear", "mlp"])
@pytest.mark.parametrize(("mean", "scale"), [(5e5, 2e5), (-3e-30, 1e-30)])
def test_a_target_of_any_scale_is_published(model, mean, scale, tmp_path):
    random = np.random.default_rng(2)
    x = random.normal(size=(200, 2))
    y = mean + scale * (x @ [1.0, -0.5] + 0.05 * random.normal(size=200))
    data = write_csv(tmp_path / "houses.csv", ["a", "b", "price"], np.column_stack([x, y]))
    config = config_for(model, data=data, target="price")
    result = train_and_evaluate(config, tmp_path)
    assert result.metrics["test_r2"] > 0.98


def test_a_table_of_four_rows_is_published(tmp_path):
    data = write_csv(tmp_path / "four.csv", "xy", [[1, "no"], [2, "no"], [8, "yes"], [9, "yes"]])
    result = train_and_evaluate(config_for("logistic", data=data, target="y"), tmp_path)
    assert result.contract.statistics.examples == 2


def test_a_line_of_very_large_numbers_is_found(tmp_path):
    rows = [[x, 3e25 * x - 1e25] for x in range(20)]
    data = write_csv(tmp_path / "line.csv", "xy", rows)
    result = train_and_evaluate(config_for("linear", data=data, target="y", epochs=300), tmp_path)
    assert result.line == pytest.approx((3e25, -1e25), rel=1e-4)
    assert result.metrics["test_r2"] > 0.999
