import csv
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.preprocessing import StandardScaler

from rockstar_training.config import config_for, read_config
from rockstar_training.errors import ConfigError, StoppedError, TrainingError
from rockstar_training.prepared_data import prepare_data
from rockstar_training.progress import Epoch, summarize
from rockstar_training.train import cross_validate, train_and_evaluate
from tests.unit.training.small_data import write_csv

TINY = config_for("logistic", name="tiny", epochs=1, augmentation=0.5)
TRAIN_TINY = """
import sys
from pathlib import Path
from rockstar_training.config import config_for
from rockstar_training.train import train_and_evaluate
train_and_evaluate(config_for("mlp", epochs=1), Path(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    epochs: list[Epoch] = []
    workdir = tmp_path_factory.mktemp("work")
    return train_and_evaluate(TINY, workdir, epochs.append), epochs, workdir


def test_one_epoch_end_to_end(tiny):
    result, epochs, workdir = tiny
    assert result.folder == workdir / "models" / "tiny" / "1"
    assert (result.folder / "saved_model.pb").is_file()
    assert [(epoch.number, epoch.epochs) for epoch in epochs] == [(1, 1)]
    others = {"test_balanced_accuracy", "test_f1", "test_auc"}
    assert set(result.metrics) == {"test_accuracy", "test_loss", "train_accuracy", *others}
    assert result.test.outputs.shape == (360, 10)
    assert result.seconds > 0


def test_contract_describes_the_run(tiny):
    contract = tiny[0].contract
    assert (contract.model, contract.version, contract.metrics) == ("tiny", 1, tiny[0].metrics)
    assert contract.labels == tuple("0123456789")
    assert contract.data_set.examples == 1797
    assert contract.statistics.examples == 1365
    assert sum(contract.statistics.histogram) == pytest.approx(1)
    assert sum(contract.statistics.label_share) == pytest.approx(1)
    assert contract.producer.startswith("rockstartf")
    assert ", tensorflow 2." in contract.producer


def test_record_of_the_run(tiny):
    result, _, workdir = tiny
    assert result.run_folder == workdir / "runs" / "tiny-1"
    assert read_config(result.run_folder / "config.json") == TINY
    history = json.loads((result.run_folder / "history.json").read_text())
    assert [epoch["number"] for epoch in history] == [1]
    assert history[0]["val_loss"] == result.history[0].val_loss > 0
    assert json.loads((result.run_folder / "metrics.json").read_text()) == result.metrics
    with (result.run_folder / "test_predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == result.test.indices.tolist()
    right = np.mean([row["label"] == row["predicted"] for row in rows])
    assert right == pytest.approx(result.metrics["test_accuracy"])
    scores = np.array([row["score"] for row in rows], dtype=np.float32)
    np.testing.assert_array_equal(scores, result.test.outputs.max(axis=1))


@pytest.mark.parametrize(
    ("step", "what"), [("record", "the record of its run"), ("report", "its report")]
)
def test_ctrl_c_after_publishing_names_the_version(tmp_path, monkeypatch, step, what):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"rockstar_training.train.write_{step}", interrupted)
    message = f"models/tiny/1 is published and complete, but {what} was not written"
    with pytest.raises(StoppedError, match=message):
        train_and_evaluate(TINY, tmp_path)
    assert (tmp_path / "models" / "tiny" / "1" / "manifest.json").is_file()


def test_summary(tiny):
    text = summarize(tiny[0])
    assert text.startswith("tiny version 1 in ")
    assert "of 360 held-out examples" in text
    assert str(tiny[0].folder) in text


def test_an_unwritable_workdir_is_an_error_before_training(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="cannot write to"):
        train_and_evaluate(TINY, tmp_path / "file")
    with pytest.raises(TrainingError, match=r"cannot write to w\\udce9: .* names are UTF-8"):
        train_and_evaluate(TINY, type(tmp_path)("w\udce9"))


@pytest.mark.slow
def test_tensorflow_prints_nothing_on_the_terminal(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", TRAIN_TINY, tmp_path], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
@pytest.mark.parametrize(("model", "least"), [("logistic", 0.96), ("mlp", 0.98), ("cnn", 0.99)])
def test_accuracy_of_the_default_models(model, least, tmp_path):
    result = train_and_evaluate(config_for(model), tmp_path)
    assert result.metrics["test_accuracy"] >= least
    assert result.contract.metrics == result.metrics


def test_cross_validation_comes_before_the_final_model(tmp_path):
    random = np.random.default_rng(0)
    rows = [[x, "yes" if x + random.normal() > 0 else "no"] for x in random.normal(size=60)]
    data = write_csv(tmp_path / "rows.csv", "xy", rows)
    config = config_for("logistic", data=data, target="y", folds=3, epochs=20)
    told: list[str] = []
    found = cross_validate(config, told.append)
    assert [line.split(":")[0] for line in told] == ["Fold 1 of 3", "Fold 2 of 3", "Fold 3 of 3"]
    shares = [float(line.split()[-1]) for line in told]
    assert found["cv_accuracy"] == pytest.approx(np.mean(shares), abs=1e-4)
    assert found["cv_accuracy_std"] == pytest.approx(np.std(shares), abs=1e-4)
    result = train_and_evaluate(config, tmp_path, data=prepare_data(config), folds=found)
    assert result.metrics["cv_f1"] == found["cv_f1"]
    assert f"folds     accuracy {found['cv_accuracy']:.4g} ± " in summarize(result)
    assert len(result.test.truth) == 12


def test_workers_of_a_cluster_cannot_cross_validate(tmp_path, monkeypatch):
    cluster = '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}'
    monkeypatch.setenv("TF_CONFIG", cluster)
    data = write_csv(tmp_path / "rows.csv", "xy", [[n, "ny"[n % 2]] for n in range(20)])
    with pytest.raises(ConfigError, match="folds: expected 0 with TF_CONFIG"):
        cross_validate(config_for("logistic", data=data, target="y", folds=2))


def test_a_logistic_model_of_iris_is_as_good_as_scikit_learns(tmp_path):
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


@pytest.mark.slow
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
    config = config_for("logistic", data=data, target="answer", epochs=20)
    result = train_and_evaluate(config, tmp_path)
    assert result.metrics["test_accuracy"] == 0.75
    note = "no better than always answering 'no', which is right for 0.7500"
    assert note in " ".join(result.notes)
    assert note in (result.run_folder / "report.html").read_text().replace("&#39;", "'")


@pytest.mark.parametrize(
    ("model", "epochs", "mean", "scale"),
    [("linear", 500, -3e-30, 1e-30), ("mlp", 40, 5e5, 2e5), ("mlp", 40, -3e-30, 1e-30)],
)
@pytest.mark.slow
def test_a_target_of_any_scale_is_published(model, epochs, mean, scale, tmp_path):
    random = np.random.default_rng(2)
    x = random.normal(size=(200, 2))
    y = mean + scale * (x @ [1.0, -0.5] + 0.05 * random.normal(size=200))
    data = write_csv(tmp_path / "houses.csv", ["a", "b", "price"], np.column_stack([x, y]))
    config = config_for(model, data=data, target="price", epochs=epochs)
    result = train_and_evaluate(config, tmp_path)
    assert result.metrics["test_r2"] > 0.98


def test_a_table_of_four_rows_is_published(tmp_path):
    data = write_csv(tmp_path / "four.csv", "xy", [[1, "no"], [2, "no"], [8, "yes"], [9, "yes"]])
    config = config_for("logistic", data=data, target="y", epochs=20)
    result = train_and_evaluate(config, tmp_path)
    assert result.contract.statistics.examples == 2


def test_a_line_of_very_large_numbers_is_found(tmp_path):
    rows = [[x, 3e25 * x - 1e25] for x in range(20)]
    data = write_csv(tmp_path / "line.csv", "xy", rows)
    result = train_and_evaluate(config_for("linear", data=data, target="y", epochs=300), tmp_path)
    assert result.line == pytest.approx((3e25, -1e25), rel=1e-4)
    assert result.metrics["test_r2"] > 0.999
