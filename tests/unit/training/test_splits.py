"""Splits for training, validation and testing: random, given, by group and by time."""

import re

import numpy as np
import pytest

from rockstar_training import datasets
from rockstar_training.config import config_for
from rockstar_training.errors import DataError
from rockstar_training.prepared_data import prepare_folds
from rockstar_training.splits import Fractions, hold_out, split_labeled
from tests.unit.training.small_data import prepare, write_csv


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


def split(dataset, fraction, seed):
    return dataset.split(Fractions(fraction, 0, seed))


def test_split_holds_the_same_share_of_every_label_out(digits):
    held_out = digits.labels[split(digits, 0.2, seed=3).test]
    share = np.bincount(held_out) / np.bincount(digits.labels)
    np.testing.assert_allclose(share, 0.2, atol=0.01)


def test_a_small_split_has_room_for_every_label(digits):
    held_out = digits.labels[split(digits, 0.001, seed=3).test]
    assert sorted(held_out) == list(range(10))


def test_the_only_example_of_a_label_is_trained_on():
    index = np.arange(10, 20)
    labels = np.array([0] * 5 + [1] * 4 + [2])
    kept, held_out = hold_out(index, labels, 0.3, seed=1, name="rows")
    assert 19 in kept
    assert set(labels[held_out - 10]) == {0, 1}
    np.testing.assert_array_equal(np.sort([*kept, *held_out]), index)


def test_labels_with_one_training_example_each_train_without_validation():
    labels = np.arange(20) // 2
    divided = split_labeled(labels, Fractions(0.2, 0.1, seed=1), "data")
    assert [len(part) for part in (divided.train, divided.validation, divided.test)] == [10, 0, 10]


def test_labels_that_all_have_one_example_are_refused():
    message = "cannot hold 0.2 of rows out, which has 3 examples to divide; each label needs two"
    with pytest.raises(DataError, match=re.escape(message)):
        hold_out(np.arange(3), np.arange(3), 0.2, seed=3, name="rows")
    with pytest.raises(DataError, match=r"1 examples to divide; a regression needs two$"):
        hold_out(np.arange(1), None, 0.2, seed=3, name="rows")


SPLIT = {"seed": 3, "test_fraction": 0.25, "validation_fraction": 0.25, "target": "y"}


def parts(prepared):
    return [prepared.train.places, prepared.validation.places, prepared.test.places]


@pytest.fixture
def visits(tmp_path):
    """Four visits by each of 30 patients, one visit per day in total."""
    random = np.random.default_rng(0)
    rows = [
        [f"p{n % 30:02}", f"2024-{n // 28 + 1:02}-{n % 28 + 1:02}", random.normal(), "ny"[n % 2]]
        for n in range(120)
    ]
    random.shuffle(rows)
    return write_csv(tmp_path / "visits.csv", ["patient", "day", "value", "y"], rows), rows


def test_groups_stay_together(visits):
    data, rows = visits
    prepared = prepare(data, split="group:patient", **SPLIT)
    patients = [{rows[place][0] for place in part} for part in parts(prepared)]
    assert not patients[0] & patients[1]
    assert not patients[0] & patients[2]
    assert not patients[1] & patients[2]
    assert [len(part) for part in parts(prepared)] == pytest.approx([68, 22, 30], abs=6)
    # A patient's identity does not help to predict another's.
    assert "patient" not in [column.name for column in prepared.input.columns]
    assert "column 'patient' defines the groups, so it is not an input" in prepared.notes


def test_the_latest_rows_are_held_out(visits):
    data, rows = visits
    prepared = prepare(data, split="time:day", ignore=["patient", "day"], **SPLIT)
    days = [[rows[place][1] for place in part] for part in parts(prepared)]
    assert max(days[0]) < min(days[1]) <= max(days[1]) < min(days[2])
    assert [len(part) for part in days] == pytest.approx([68, 22, 30], abs=1)
    assert [column.name for column in prepared.input.columns] == ["value"]


def test_rows_of_the_same_time_stay_together(tmp_path):
    rows = [[year, n, "ny"[n % 2]] for n in range(10) for year in (2020, 2021, 2022)]
    data = write_csv(tmp_path / "years.csv", ["year", "x", "y"], rows)
    prepared = prepare(data, split="time:year", **(SPLIT | {"validation_fraction": 0}))
    assert {rows[place][0] for place in prepared.train.places} == {2020, 2021}
    assert {rows[place][0] for place in prepared.test.places} == {2022}


def test_files_of_their_own_to_validate_and_test_with(tmp_path):
    data = write_csv(tmp_path / "train.csv", "axy", [[n, n % 7, "ny"[n % 2]] for n in range(40)])
    write_csv(tmp_path / "val.csv", "yxa", [["n", 3, 1], ["y", 4, 2], ["", 5, 5]])
    write_csv(tmp_path / "test.csv", "yxa", [["y", 9, 1], ["n", 4, 2]])
    prepared = prepare(
        data, validation=str(tmp_path / "val.csv"), test=str(tmp_path / "test.csv"), **SPLIT
    )
    assert (prepared.train.count, prepared.validation.count, prepared.test.count) == (40, 2, 2)
    assert prepared.test.raw(0) == {"a": "1", "x": "9"}
    assert prepared.labels == ("n", "y")
    assert prepared.input.columns[0].mean == 19.5
    alone = prepare(data, **SPLIT)
    assert alone.sha256 != prepared.sha256


def test_a_file_without_the_target_is_refused(tmp_path):
    data = write_csv(tmp_path / "train.csv", "xy", [[n, "ny"[n % 2]] for n in range(40)])
    write_csv(tmp_path / "test.csv", "x", [[1], [2]])
    with pytest.raises(DataError, match=r"test\.csv has no column 'y', it has 'x'; .*predict"):
        prepare(data, test=str(tmp_path / "test.csv"), **SPLIT)
    write_csv(tmp_path / "test.csv", "xy", [[1, ""], [2, ""]])
    with pytest.raises(DataError, match=r"test\.csv: column 'y' has no values; .*predict"):
        prepare(data, test=str(tmp_path / "test.csv"), **SPLIT)


def test_a_group_with_most_of_the_rows(tmp_path):
    rows = [["large" if n < 90 else f"g{n % 2}", n, "ny"[n % 2]] for n in range(100)]
    data = write_csv(tmp_path / "rows.csv", "gxy", rows)
    prepared = prepare(data, split="group:g", **(SPLIT | {"validation_fraction": 0}))
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
    data = write_csv(tmp_path / "rows.csv", ["x", "v", "one", "y"], rows)
    with pytest.raises(DataError, match=message):
        prepare(data, split=split, **SPLIT)


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
        # The columns are fitted again for each fold.
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
    data = write_csv(tmp_path / "rows.csv", "xy", [[n, "ny"[n % 2]] for n in range(20)])
    with pytest.raises(DataError, match="20 rows are too few for 21 folds"):
        next(prepare_folds(config_for("logistic", data=data, target="y", folds=21)))
