import csv

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_diabetes, load_iris

from rockstar_contract.contract import ImageInput, TableInput
from rockstar_contract.images import encode_png
from rockstar_contract.inputs import prepare as serve
from rockstar_contract.tables import TextRow
from rockstar_training import datasets
from rockstar_training.config import config_for
from rockstar_training.errors import ConfigError, DataError
from rockstar_training.prepared_data import class_weights
from rockstar_training.splits import Fractions
from tests.shared_data import shared_data
from tests.unit.training.small_data import prepare, write_csv, write_shades

SETTINGS = {"seed": 3, "test_fraction": 0.2, "validation_fraction": 0.25}


@pytest.fixture
def iris(tmp_path):
    """Four measures as numbers, the sepals' size as text, and the species."""
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
    """30 images of each class; one is damaged."""
    data = write_shades(tmp_path, 30)
    (tmp_path / "dark" / "7.png").write_bytes(b"x")
    return data


def counts(prepared):
    return [part.count for part in (prepared.train, prepared.validation, prepared.test)]


def require_sound(prepared):
    """Properties of every data set."""
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
    assert counts(prepared) == [1077, 360, 360]
    assert prepared.statistics.examples == 1077
    digits = datasets.load("digits")
    assert prepared.sha256 == digits.sha256
    split = digits.split(Fractions(0.2, 0.25, seed=3))
    np.testing.assert_array_equal(prepared.test.places, split.test)


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


def test_serving_a_line_of_the_file_gives_the_trained_input(iris):
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
    write_shades(other, 4, seed=1)
    prepared = prepare(shades, validation=other, **SETTINGS)
    require_sound(prepared)
    assert counts(prepared) == [47, 8, 12]
    assert prepared.validation.raw(0) in [path.read_bytes() for path in other.rglob("*.png")]


@pytest.mark.parametrize("data", ["digits", "shades"])
def test_corrections_are_learned_besides_the_data_set(data, shades, tmp_path_factory):
    data, name = (shades, "light") if data == "shades" else (data, "7")
    before = prepare(data)
    image = encode_png(np.full((40, 30, 1), 200, np.uint8))
    folder = tmp_path_factory.mktemp("corrections")
    for place in (f"{name}/a.png", f"{name}/b.png", "unicorn/c.png", f"{name}/.incoming"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(image)
    (folder / name / "damaged.png").write_bytes(image[:50])
    after = prepare(data, corrections=str(folder))
    require_sound(after)
    assert [a - b for a, b in zip(counts(after), counts(before), strict=True)] == [2, 0, 0]
    assert (after.name, after.labels, after.input) == (before.name, before.labels, before.input)
    assert [after.labels[label] for label in after.train.targets[-2:]] == [name] * 2
    assert after.train.raw(after.train.count - 1) == image
    served = serve(image, after.input, field="image")
    np.testing.assert_array_equal(after.train.tensors(np.array([-1]))[0], served)
    np.testing.assert_array_equal(
        after.test.tensors(np.arange(9)), before.test.tensors(np.arange(9))
    )
    assert after.sha256 != before.sha256
    notes = "\n".join(after.notes)
    assert f"skipped {folder}/unicorn: not a label (1 files)" in notes
    assert f"skipped {folder}/{name}/damaged.png: expected" in notes
    assert f"corrections: 2 from {folder}" in notes


def test_corrections_that_are_not_there(tmp_path):
    assert prepare("digits", corrections=str(tmp_path)).notes == (
        f"corrections: 0 from {tmp_path}",
    )
    with pytest.raises(DataError, match="no such folder: none"):
        prepare("digits", corrections="none")
    with pytest.raises(ConfigError, match="corrections: expected none; with data of images only"):
        prepare("csv:a.csv", corrections="some")


def test_splits_of_a_folder_are_kept(tmp_path):
    sizes = {"train": 20, "val": 3, "test": 5}
    for split, size in sizes.items():
        write_shades(tmp_path / split, size, seed=size)
    prepared = prepare(f"folder:{tmp_path}", **SETTINGS)
    require_sound(prepared)
    parts = (prepared.train, prepared.validation, prepared.test)
    assert counts(prepared) == [2 * size for size in sizes.values()]
    for split, part in zip(sizes, parts, strict=True):
        files = {path.read_bytes() for path in (tmp_path / split).rglob("*.png")}
        assert files == {part.raw(index) for index in range(part.count)}


def test_images_that_occur_twice_are_reported(tmp_path):
    for split, size in {"train": 12, "test": 5}.items():
        write_shades(tmp_path / split, size, seed=size)
    train, test = (sorted((tmp_path / split).rglob("*.png")) for split in ("train", "test"))
    with Image.open(train[0]) as image:  # other bytes, same pixels
        image.save(test[0], compress_level=1)
    test[-1].write_bytes(train[1].read_bytes())  # of another class
    notes = "\n".join(prepare(f"folder:{tmp_path}", **SETTINGS).notes)
    assert "2 of 10 held-out images are copies of training images" in notes
    assert f"2 images are in several classes, such as {train[1]}" in notes


@pytest.mark.parametrize(("different", "copies"), [(1, 4), (1, 1), (30, 4)])
def test_copied_rows_that_are_learned_and_tested_are_reported(tmp_path, different, copies):
    rows = [[n // different, n % 3, "ab"[n % 2]] for n in range(60)] * copies
    data = write_csv(tmp_path / "heart.csv", ["age", "sex", "target"], rows)
    notes = prepare(data, target="target").notes
    assert any("held-out rows are copies of training rows" in note for note in notes) == (
        different == 1 < copies
    )


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


def test_only_classes_that_are_rarer_than_others_get_weights():
    config = config_for("logistic", data="csv:rows.csv")
    assert class_weights(config, [0.05] * 20) == ()
    assert class_weights(config, [0.12, 0.88]) == ()
    assert class_weights(config, [0.08, 0.92]) == pytest.approx((1 / 0.16, 1 / 1.84))
    # A label that only the test file has is never used.
    assert class_weights(config, [0.5, 0.5, 0.0])[2] == 1
    balanced = config_for("logistic", data="csv:rows.csv", class_weights="balanced")
    assert class_weights(balanced, [0.25, 0.75]) == pytest.approx((2, 2 / 3))
