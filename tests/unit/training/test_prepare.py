import csv

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris

from rockstar_contract.contract import ImageInput, TableInput
from rockstar_contract.inputs import prepare as serve
from rockstar_contract.tables import TextRow
from rockstar_training import datasets
from rockstar_training.config import config_for
from rockstar_training.errors import ConfigError, DataError
from rockstar_training.prepare import prepare, prepare_folds, prepare_for
from rockstar_training.progress import summarize
from rockstar_training.train import cross_validate, train_and_evaluate
from tests.images import png
from tests.shared_data import shared_data

SETTINGS = {"seed": 3, "test_fraction": 0.2, "validation_fraction": 0.25}


def write_csv(path, names, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    return f"csv:{path}"


@pytest.fixture
def iris(tmp_path):
    """Four measures as numbers, the sepals' size as text besides, and the species."""
    found = load_iris()
    rows = [
        [*map(float, values), "long" if values[0] > 5.8 else "short", found.target_names[label]]
        for values, label in zip(found.data, found.target, strict=True)
    ]
    return write_csv(tmp_path / "iris.csv", [*found.feature_names, "size", "species"], rows)


@pytest.fixture
def diabetes(tmp_path):
    found = load_diabetes(scaled=False)
    rows = [[*map(float, x), float(y)] for x, y in zip(found.data, found.target, strict=True)]
    return write_csv(tmp_path / "diabetes.csv", [*found.feature_names, "progression"], rows)


@pytest.fixture
def shades(tmp_path):
    """Dark and light pictures, 30 of each class, one of them damaged."""
    noise = np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 150)):
        (tmp_path / name).mkdir()
        for number in range(30):
            pixels = noise.integers(low, low + 100, (20, 20), dtype=np.uint8)
            (tmp_path / name / f"{number}.png").write_bytes(png(pixels))
    (tmp_path / "dark" / "7.png").write_bytes(b"x")
    return f"folder:{tmp_path}"


def require_sound(prepared):
    """What holds for every data set."""
    parts = (prepared.train, prepared.validation, prepared.test)
    places = np.concatenate([part.places for part in parts])
    assert np.array_equal(np.sort(places), np.arange(prepared.examples))
    for part in parts:
        some = np.array([part.count - 1, 0])
        tensors = part.tensors(some)
        assert tensors.shape == (2, *prepared.input.shape)
        assert tensors.dtype == np.float32
        assert part.count == len(part.targets)
        for index, tensor in zip(some, tensors, strict=True):
            again = serve(part.raw(int(index)), prepared.input, field="raw")
            np.testing.assert_array_equal(again, tensor)
        batches = list(part.batches(50))
        assert sum(len(targets) for _, targets in batches) == part.count
    assert len(prepared.golden.raw) == len(prepared.golden.tensors) == 32
    for raw, tensor in zip(prepared.golden.raw, prepared.golden.tensors, strict=True):
        np.testing.assert_array_equal(serve(raw, prepared.input, field="golden"), tensor)
    assert sum(prepared.statistics.histogram) == pytest.approx(1)


def test_digits():
    prepared = prepare("digits", **SETTINGS)
    require_sound(prepared)
    assert isinstance(prepared.input, ImageInput)
    assert (prepared.name, prepared.task, prepared.target) == ("digits", "classification", None)
    assert (prepared.train.count, prepared.validation.count, prepared.test.count) == (
        1077,
        360,
        360,
    )
    assert prepared.statistics.examples == 1077
    assert prepared.train.source(0).startswith("digits image ")
    digits = datasets.load("digits")
    assert prepared.sha256 == digits.sha256
    split = datasets.split(digits, 0.2, seed=3)
    np.testing.assert_array_equal(prepared.test.places, split.test_index)


def test_iris(iris):
    prepared = prepare(iris, target="species", **SETTINGS)
    require_sound(prepared)
    assert isinstance(prepared.input, TableInput)
    assert (prepared.name, prepared.input.name) == ("csv:iris.csv", "features")
    assert prepared.labels == ("setosa", "versicolor", "virginica")
    assert (prepared.target, prepared.input.shape) == ("species", (6,))
    assert np.bincount(prepared.test.targets).tolist() == [10, 10, 10]
    assert np.bincount(prepared.validation.targets).tolist() == [10, 10, 10]
    tensors = prepared.train.tensors(np.arange(prepared.train.count))
    np.testing.assert_allclose(tensors[:, :4].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(tensors[:, :4].std(axis=0), 1, atol=1e-5)
    assert prepared.statistics.label_share == pytest.approx((1 / 3,) * 3)
    assert prepared.train.source(0) == f"iris.csv line {prepared.train.places[0] + 2}"


def test_a_line_of_the_file_as_served_is_what_was_trained_on(iris):
    prepared = prepare(iris, target="species", **SETTINGS)
    with open(iris.removeprefix("csv:"), newline="") as file:
        rows = list(csv.DictReader(file))
    for index in range(5):
        row = TextRow(rows[prepared.train.places[index]])
        del row["species"]
        served = serve(row, prepared.input, field="row")
        np.testing.assert_array_equal(served, prepared.train.tensors(np.array([index]))[0])


def test_diabetes_is_a_regression(diabetes):
    prepared = prepare(diabetes, target="progression", **SETTINGS)
    require_sound(prepared)
    assert (prepared.task, prepared.labels) == ("regression", ())
    assert prepared.train.targets.dtype == np.float32
    assert prepared.statistics.label_share == ()
    assert prepared.statistics.target is not None
    assert prepared.statistics.target.mean == pytest.approx(prepared.train.targets.mean())
    assert prepared.statistics.target.maximum == prepared.train.targets.max()


def test_few_whole_numbers_are_classes(tmp_path):
    data = write_csv(tmp_path / "marks.csv", "xy", [[x, x % 3] for x in range(60)])
    classes = prepare(data, target="y", **SETTINGS)
    assert (classes.task, classes.labels) == ("classification", ("0", "1", "2"))
    (note,) = classes.notes
    assert note.endswith("each is a class; to predict a number, give --task regression")
    number = prepare(data, target="y", task="regression", **SETTINGS)
    assert (number.task, number.labels, number.notes) == ("regression", (), ())


def test_a_folder(shades):
    prepared = prepare(shades, **SETTINGS)
    require_sound(prepared)
    assert (prepared.labels, prepared.examples) == (("dark", "light"), 59)
    assert prepared.input.shape == (20, 20, 1)
    assert np.bincount(prepared.test.targets).tolist() == [6, 6]
    (note,) = prepared.notes
    assert note.startswith("skipped ")
    assert "7.png" in note
    assert prepare(shades, image_size=8, **SETTINGS).input.shape == (8, 8, 1)


def test_many_damaged_files_are_counted(shades, tmp_path):
    for number in range(8, 25):
        (tmp_path / "dark" / f"{number}.png").write_bytes(b"x")
    notes = prepare(shades, **SETTINGS).notes
    assert len(notes) == 11
    assert notes[-1] == "skipped 8 more, 18 in all"


def test_a_folder_to_validate_with_leaves_the_test_to_a_share(shades, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    for name, shade in (("dark", 20), ("light", 200)):
        (other / name).mkdir()
        for number in range(4):
            pixels = np.full((20, 20), shade + number, np.uint8)
            (other / name / f"{number}.png").write_bytes(png(pixels))
    prepared = prepare(shades, validation=other, **SETTINGS)
    require_sound(prepared)
    assert (prepared.validation.count, prepared.test.count, prepared.train.count) == (8, 12, 47)
    assert prepared.validation.source(0).startswith(str(other))


def test_splits_of_a_folder_are_kept(tmp_path):
    noise = np.random.default_rng(0)
    counts = {"train": 20, "val": 3, "test": 5}
    for split, count in counts.items():
        for name, low in (("dark", 0), ("light", 150)):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = noise.integers(low, low + 100, (9, 9), dtype=np.uint8)
                (tmp_path / split / name / f"{number}.png").write_bytes(png(pixels))
    prepared = prepare(f"folder:{tmp_path}", **SETTINGS)
    require_sound(prepared)
    for split, part in (
        ("train", prepared.train),
        ("val", prepared.validation),
        ("test", prepared.test),
    ):
        assert part.count == 2 * counts[split]
        assert all(f"/{split}/" in part.source(index) for index in range(part.count))


def test_the_shared_folder_of_digits():
    prepared = prepare(f"folder:{shared_data('digits-png')}", **SETTINGS)
    require_sound(prepared)
    assert (prepared.labels, prepared.input.shape) == (tuple("0123456789"), (28, 28, 1))
    assert prepared.examples == 600


@pytest.mark.parametrize("data", ["digits", "iris"])
def test_the_seed_decides_the_parts(data, iris):
    text, target = (iris, "species") if data == "iris" else (data, None)
    first, again, other = (
        prepare(text, target=target, **(SETTINGS | {"seed": seed})) for seed in (1, 1, 2)
    )
    for part in ("train", "validation", "test"):
        places = getattr(first, part).places
        np.testing.assert_array_equal(getattr(again, part).places, places)
        assert not np.array_equal(getattr(other, part).places, places)


def test_without_validation(iris):
    prepared = prepare(iris, target="species", seed=1, test_fraction=0.2, validation_fraction=0)
    assert prepared.validation.count == 0
    assert list(prepared.validation.batches(8)) == []
    assert (prepared.train.count, prepared.test.count) == (120, 30)


def test_small_classes_are_named_with_their_counts(tmp_path):
    rows = [[n, label] for n, label in enumerate("a" * 40 + "b" * 4 + "c")]
    data = write_csv(tmp_path / "few.csv", "xy", rows)
    prepared = prepare(data, target="y", seed=1, test_fraction=0.2, validation_fraction=0)
    counts = np.bincount(prepared.train.targets)
    assert counts.tolist() == [32, 3, 1]
    assert prepared.notes == (
        "labels with fewer than 5 training examples are hardly learned: 'c' (1), 'b' (3)",
        "labels without held-out examples: 'c'",
    )


def test_ten_examples_of_each_of_twenty_classes_are_divided(tmp_path):
    rows = [[n, f"class{n % 20:02}"] for n in range(200)]
    data = write_csv(tmp_path / "many.csv", "xy", rows)
    prepared = prepare(data, target="y", **(SETTINGS | {"validation_fraction": 0.1}))
    for part, count in (("train", 7), ("validation", 1), ("test", 2)):
        assert np.bincount(getattr(prepared, part).targets).tolist() == [count] * 20
    assert prepared.notes == ()


def test_what_is_no_data_set_is_refused():
    with pytest.raises(ConfigError, match="data: expected"):
        prepare("cifar", **SETTINGS)


SPLIT = {"seed": 3, "test_fraction": 0.25, "validation_fraction": 0.25, "target": "y"}


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
    prepared = prepare(data, split="group:patient", **SPLIT)
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
    prepared = prepare(data, split="time:day", ignore=["patient", "day"], **SPLIT)
    days = [[rows[place][1] for place in part] for part in parts(prepared)]
    assert max(days[0]) < min(days[1]) <= max(days[1]) < min(days[2])
    assert [len(part) for part in days] == pytest.approx([68, 22, 30], abs=1)
    assert [column.name for column in prepared.input.columns] == ["value"]


def test_rows_of_the_same_time_stay_together(tmp_path):
    rows = [[year, n, "ny"[n % 2]] for n in range(10) for year in (2020, 2021, 2022)]
    data = write(tmp_path / "years.csv", ["year", "x", "y"], rows)
    prepared = prepare(data, split="time:year", **(SPLIT | {"validation_fraction": 0}))
    assert {rows[place][0] for place in prepared.train.places} == {2020, 2021}
    assert {rows[place][0] for place in prepared.test.places} == {2022}


def test_files_of_their_own_to_validate_and_test_with(tmp_path):
    data = write(tmp_path / "train.csv", "axy", [[n, n % 7, "ny"[n % 2]] for n in range(40)])
    write(tmp_path / "val.csv", "yxa", [["n", 3, 1], ["y", 4, 2], ["", 5, 5]])
    write(tmp_path / "test.csv", "yxa", [["y", 9, 1], ["n", 4, 2]])
    prepared = prepare(data, validation=tmp_path / "val.csv", test=tmp_path / "test.csv", **SPLIT)
    assert (prepared.train.count, prepared.validation.count, prepared.test.count) == (40, 2, 2)
    assert prepared.test.raw(0) == {"a": "1", "x": "9"}
    assert prepared.test.source(1) == "line 3 of test.csv"
    assert prepared.train.source(0) == "train.csv line 2"
    assert prepared.labels == ("n", "y")
    assert prepared.input.columns[0].mean == 19.5
    alone = prepare(data, **SPLIT)
    assert alone.sha256 != prepared.sha256


def test_a_file_without_the_target_is_refused(tmp_path):
    data = write(tmp_path / "train.csv", "xy", [[n, "ny"[n % 2]] for n in range(40)])
    write(tmp_path / "test.csv", "x", [[1], [2]])
    with pytest.raises(DataError, match=r"test\.csv has no column 'y', it has 'x'; .*predict"):
        prepare(data, test=tmp_path / "test.csv", **SPLIT)
    write(tmp_path / "test.csv", "xy", [[1, ""], [2, ""]])
    with pytest.raises(DataError, match=r"test\.csv: column 'y' has no values; .*predict"):
        prepare(data, test=tmp_path / "test.csv", **SPLIT)


def test_a_group_with_most_of_the_rows(tmp_path):
    rows = [["large" if n < 90 else f"g{n % 2}", n, "ny"[n % 2]] for n in range(100)]
    data = write(tmp_path / "rows.csv", "gxy", rows)
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
    data = write(tmp_path / "rows.csv", ["x", "v", "one", "y"], rows)
    with pytest.raises(DataError, match=message):
        prepare(data, split=split, **SPLIT)


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
