"""How a table is divided: by files, groups, time, and into folds."""

import csv

import numpy as np
import pytest

from rockstar_training.config import config_for
from rockstar_training.errors import ConfigError, DataError
from rockstar_training.prepare import prepare, prepare_folds, prepare_for
from rockstar_training.progress import summarize
from rockstar_training.train import cross_validate, train_and_evaluate

SETTINGS = {"seed": 3, "test_fraction": 0.25, "validation_fraction": 0.25, "target": "y"}


def write(path, header, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return f"csv:{path}"


def parts(prepared):
    return [prepared.train.places, prepared.validation.places, prepared.test.places]


@pytest.fixture
def visits(tmp_path):
    """Four visits of each of 30 patients, one a day over all."""
    random = np.random.default_rng(0)
    rows = [
        [f"p{n % 30:02}", f"2024-{n // 28 + 1:02}-{n % 28 + 1:02}", random.normal(), "ny"[n % 2]]
        for n in range(120)
    ]
    random.shuffle(rows)
    return write(tmp_path / "visits.csv", ["patient", "day", "value", "y"], rows), rows


def test_groups_stay_together(visits):
    data, rows = visits
    prepared = prepare(data, split="group:patient", **SETTINGS)
    patients = [{rows[place][0] for place in part} for part in parts(prepared)]
    assert not patients[0] & patients[1]
    assert not patients[0] & patients[2]
    assert not patients[1] & patients[2]
    assert [len(part) for part in parts(prepared)] == pytest.approx([68, 22, 30], abs=6)
    # Who it is says nothing about somebody else.
    assert "patient" not in [column.name for column in prepared.input.columns]
    assert "column 'patient' tells the groups apart and is not learned from" in prepared.notes


def test_the_latest_rows_are_held_out(visits):
    data, rows = visits
    prepared = prepare(data, split="time:day", ignore=["patient", "day"], **SETTINGS)
    days = [[rows[place][1] for place in part] for part in parts(prepared)]
    assert max(days[0]) < min(days[1]) <= max(days[1]) < min(days[2])
    assert [len(part) for part in days] == pytest.approx([68, 22, 30], abs=1)
    assert [column.name for column in prepared.input.columns] == ["value"]


def test_rows_of_the_same_time_stay_together(tmp_path):
    rows = [[year, n, "ny"[n % 2]] for n in range(10) for year in (2020, 2021, 2022)]
    data = write(tmp_path / "years.csv", ["year", "x", "y"], rows)
    prepared = prepare(data, split="time:year", **(SETTINGS | {"validation_fraction": 0}))
    assert {rows[place][0] for place in prepared.train.places} == {2020, 2021}
    assert {rows[place][0] for place in prepared.test.places} == {2022}


def test_files_of_their_own_to_validate_and_test_with(tmp_path):
    data = write(tmp_path / "train.csv", "axy", [[n, n % 7, "ny"[n % 2]] for n in range(40)])
    write(tmp_path / "val.csv", "yxa", [["n", 3, 1], ["y", 4, 2], ["", 5, 5]])
    write(tmp_path / "test.csv", "yxa", [["y", 9, 1], ["n", 4, 2]])
    prepared = prepare(
        data, validation=tmp_path / "val.csv", test=tmp_path / "test.csv", **SETTINGS
    )
    assert (prepared.train.count, prepared.validation.count, prepared.test.count) == (40, 2, 2)
    assert prepared.test.raw(0) == {"a": "1", "x": "9"}
    assert prepared.test.source(1) == "line 3 of test.csv"
    assert prepared.train.source(0) == "train.csv line 2"
    assert prepared.labels == ("n", "y")
    assert prepared.input.columns[0].mean == 19.5
    alone = prepare(data, **SETTINGS)
    assert alone.sha256 != prepared.sha256


def test_a_file_without_the_target_is_refused(tmp_path):
    data = write(tmp_path / "train.csv", "xy", [[n, "ny"[n % 2]] for n in range(40)])
    write(tmp_path / "test.csv", "x", [[1], [2]])
    with pytest.raises(DataError, match=r"test\.csv has no column 'y', it has 'x'; .*predict"):
        prepare(data, test=tmp_path / "test.csv", **SETTINGS)
    write(tmp_path / "test.csv", "xy", [[1, ""], [2, ""]])
    with pytest.raises(DataError, match=r"test\.csv: column 'y' has no values; .*predict"):
        prepare(data, test=tmp_path / "test.csv", **SETTINGS)


def test_a_group_with_most_of_the_rows(tmp_path):
    rows = [["large" if n < 90 else f"g{n % 2}", n, "ny"[n % 2]] for n in range(100)]
    data = write(tmp_path / "rows.csv", "gxy", rows)
    prepared = prepare(data, split="group:g", **(SETTINGS | {"validation_fraction": 0}))
    groups = [{rows[p][0] for p in part.places} for part in (prepared.train, prepared.test)]
    assert all(groups)
    assert not groups[0] & groups[1]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("time:x", "'b' in line 2; a split by time needs dates or numbers"),
        ("group:z", "has no column 'z'"),
        ("group:one", "needs two or more groups, there is 1"),
        ("time:one", "needs rows of different times"),
    ],
)
def test_columns_that_cannot_divide_rows(split, message, tmp_path):
    rows = [["bcd"[n % 3], n, 1, "ny"[n % 2]] for n in range(40)]
    data = write(tmp_path / "rows.csv", ["x", "v", "one", "y"], rows)
    with pytest.raises(DataError, match=message):
        prepare(data, split=split, **SETTINGS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "time"}, "split: expected random, group:COLUMN or time:COLUMN, got 'time'"),
        ({"split": "week:day"}, "split: expected"),
        ({"folds": 1}, "folds: expected 0 or 2 to 100, got 1"),
        ({"data": "digits", "folds": 5}, "folds: expected 0; others with data csv:FILE only"),
        ({"data": "digits", "test": "y"}, "test: expected none; with data csv:FILE or folder:DIR"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ConfigError, match=message):
        config_for("logistic", **({"data": "csv:rows.csv"} | settings))


def test_every_row_is_tested_with_in_one_fold(visits):
    data, rows = visits
    config = config_for("logistic", data=data, target="y", folds=4, split="group:patient")
    folds = list(prepare_folds(config))
    tested = np.concatenate([fold.test.places for fold in folds])
    assert np.sort(tested).tolist() == list(range(120))
    for fold in folds:
        learned, held_out = (
            {rows[place][0] for place in part.places} for part in (fold.train, fold.test)
        )
        assert not learned & held_out
        # The columns are fitted to each fold anew.
        assert fold.statistics.examples == len(fold.train.places) < 120


def test_folds_by_time_train_on_earlier_rows_only(visits):
    data, rows = visits
    folds = list(
        prepare_folds(config_for("logistic", data=data, target="y", folds=3, split="time:day"))
    )
    for fold in folds:
        learned, held_out = ([rows[p][1] for p in part.places] for part in (fold.train, fold.test))
        assert max(learned) < min(held_out)
    assert [fold.test.count for fold in folds] == [30, 30, 30]


def test_too_few_rows_for_the_folds(tmp_path):
    data = write(tmp_path / "rows.csv", "xy", [[n, "ny"[n % 2]] for n in range(20)])
    with pytest.raises(DataError, match="20 rows are too few for 21 folds"):
        next(prepare_folds(config_for("logistic", data=data, target="y", folds=21)))


def test_cross_validation_comes_before_the_final_model(tmp_path):
    random = np.random.default_rng(0)
    rows = [[x, "yes" if x + random.normal() > 0 else "no"] for x in random.normal(size=60)]
    data = write(tmp_path / "rows.csv", "xy", rows)
    config = config_for("logistic", data=data, target="y", folds=3, epochs=20)
    told: list[str] = []
    found = cross_validate(config, told.append)
    assert [line.split(":")[0] for line in told] == ["Fold 1 of 3", "Fold 2 of 3", "Fold 3 of 3"]
    shares = [float(line.split()[-1]) for line in told]
    assert found["cv_accuracy"] == pytest.approx(np.mean(shares), abs=1e-4)
    assert found["cv_accuracy_std"] == pytest.approx(np.std(shares), abs=1e-4)
    result = train_and_evaluate(config, tmp_path, data=prepare_for(config), folds=found)
    assert result.metrics["cv_f1"] == found["cv_f1"]
    assert f"folds     accuracy {found['cv_accuracy']:.4g} ± " in summarize(result)
    assert len(result.test.truth) == 12


def test_workers_of_a_cluster_cannot_cross_validate(tmp_path, monkeypatch):
    cluster = '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}'
    monkeypatch.setenv("TF_CONFIG", cluster)
    data = write(tmp_path / "rows.csv", "xy", [[n, "ny"[n % 2]] for n in range(20)])
    with pytest.raises(ConfigError, match="folds: expected 0 with TF_CONFIG"):
        cross_validate(config_for("logistic", data=data, target="y", folds=2))
