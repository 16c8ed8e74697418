import numpy as np
import pytest
from PIL import Image

from rockstar_contract.contract import ImageInput
from rockstar_contract.preprocessing import preprocess
from rockstar_training import datasets
from rockstar_training.datasets import (
    digits_input,
    fashion_mnist_input,
    load_arrays,
    mnist_input,
    prepare_images,
)
from rockstar_training.errors import DataError
from rockstar_training.image_folders import folder_input
from rockstar_training.prepared_data import input_statistics
from rockstar_training.splits import Fractions
from rockstar_training.tensorflow_setup import keras
from tests.shared_data import shared_data


def test_digits_are_those_that_scikit_learn_bundles():
    digits = datasets.load("digits")
    assert digits.images.shape == (1797, 8, 8, 1)
    assert digits.images.dtype == np.uint8
    assert (digits.images.min(), digits.images.max()) == (0, 255)
    assert len(np.unique(digits.images)) == 17
    assert digits.labels.shape == (1797,)
    assert digits.labels.dtype == np.int64
    assert digits.label_names == tuple("0123456789")
    assert digits.sha256 == "0b7e9c3202d7bcd255d6a19a238d3743bf5e320ba74812a6679958a017c55382"


def test_unknown_data_set_names_the_known_ones():
    with pytest.raises(DataError, match=r"no data set 'cifar'; known are: digits"):
        datasets.load("cifar")


def arrays(**changes):
    images = np.random.default_rng(0).integers(0, 256, (24, 28, 28), dtype=np.uint8)
    labels = np.arange(24, dtype=np.uint8) % 10
    good = {"x_train": images, "y_train": labels, "x_test": images[:12], "y_test": labels[:12]}
    return good | changes


def written(folder, **changes):
    np.savez(folder / "mnist.npz", **arrays(**changes))
    return folder


def test_a_file_in_the_data_folder_is_read(tmp_path, monkeypatch):
    dataset = datasets.load("mnist", written(tmp_path))
    assert dataset.images.shape == (36, 28, 28, 1)
    assert dataset.labels.dtype == np.int64
    assert (dataset.test_count, dataset.label_names[3]) == (12, "3")
    monkeypatch.setenv("ROCKSTAR_DATA_DIR", str(tmp_path))
    assert datasets.load("mnist").sha256 == dataset.sha256


def test_its_own_test_split_is_kept(tmp_path):
    dataset = datasets.load("mnist", written(tmp_path))
    split = dataset.split(Fractions(0.5, 0.25, seed=9))
    assert split.test.tolist() == list(range(24, 36))
    assert sorted([*split.train, *split.validation]) == list(range(24))
    assert len(split.validation) == 10


def test_else_it_is_downloaded(tmp_path, monkeypatch):
    x_train, y_train, x_test, y_test = arrays().values()
    downloaded = (x_train, y_train), (x_test, y_test)
    monkeypatch.setattr(keras.datasets.fashion_mnist, "load_data", lambda: downloaded)
    dataset = datasets.load("fashion_mnist", tmp_path)
    np.testing.assert_array_equal(dataset.images[:24, ..., 0], x_train)


def test_the_error_for_missing_data_names_the_searched_paths_and_the_fix(tmp_path, monkeypatch):
    def fail():
        raise OSError("no network")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", fail)
    monkeypatch.delenv("ROCKSTAR_DATA_DIR", raising=False)
    with pytest.raises(DataError) as caught:
        load_arrays("mnist", tmp_path)
    for words in (f"mnist.npz is not in {tmp_path}", "no network", "--data-dir DIR"):
        assert words in str(caught.value)
    with pytest.raises(DataError, match="ROCKSTAR_DATA_DIR is not set"):
        load_arrays("mnist", None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": np.zeros((24, 28, 28), np.float32)}, "x_train in .*expected uint8 .*float32"),
        ({"x_test": np.zeros((12, 28, 27), np.uint8)}, r"x_test in .*got uint8 of shape \[12, 28, 27\]"),
        ({"x_test": np.zeros((0, 28, 28), np.uint8)}, "x_test"),
        ({"y_train": np.zeros(23, np.uint8)}, r"y_train in .*\[24\], got uint8 of shape \[23\]"),
        ({"y_train": np.zeros(24, np.float32)}, "y_train in .*expected integers"),
        ({"y_test": np.full(12, 10)}, "expected labels 0 to 9, got 10 to 10"),
        ({"y_test": np.full(12, None)}, "cannot be read: .*allow_pickle"),
    ],
)  # fmt: skip
def test_a_file_with_something_else_is_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        load_arrays("mnist", written(tmp_path, **changes))


def test_a_missing_array_is_named(tmp_path):
    without = {name: array for name, array in arrays().items() if name != "y_test"}
    np.savez(tmp_path / "mnist.npz", **without)
    with pytest.raises(DataError, match=r"no array .*y_test"):
        load_arrays("mnist", tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no archive"])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / "mnist.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"mnist.npz cannot be read"):
        load_arrays("mnist", tmp_path)


def test_mnist_itself():
    dataset = datasets.load("mnist", shared_data("mnist.npz").parent)
    assert dataset.images.shape == (70000, 28, 28, 1)
    assert dataset.test_count == 10000
    assert np.bincount(dataset.labels[-10000:]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]  # fmt: skip


STEPS = mnist_input().preprocessing


def some_digits(count: int = 200) -> np.ndarray:
    files = sorted(shared_data("digits-png").glob("*/*.png"))[:: 600 // count]
    return np.stack([np.asarray(Image.open(file)) for file in files])


def enlarged(digit: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(digit).resize((size, size), Image.Resampling.BICUBIC))


def prepared(pixels: np.ndarray) -> np.ndarray:
    return preprocess(pixels[:, :, np.newaxis], STEPS)[:, :, 0]


def like(first: np.ndarray, second: np.ndarray) -> float:
    """1 for the same image, 0 for unrelated ones."""
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def test_images_of_mnist_stay_as_they_are():
    digits = some_digits()
    change = np.abs(np.stack([prepared(digit) for digit in digits]) - digits / 255)
    assert change.mean() < 0.001
    assert (change.max(axis=(1, 2)) < 0.01).mean() > 0.75


def test_drawings_of_any_size_and_place_become_like_mnist():
    alike = []
    for number, digit in enumerate(some_digits(50)):
        canvas = np.zeros((400, 300), np.uint8)
        top, left = (number * 37) % 250, (number * 53) % 150
        canvas[top : top + 140, left : left + 140] = enlarged(digit, 140)
        alike.append(like(prepared(canvas), digit))
    assert np.median(alike) > 0.95
    assert np.mean(np.array(alike) > 0.8) > 0.9


def test_photos_of_ink_on_uneven_grainy_paper_become_like_mnist():
    noise = np.random.default_rng(0)
    light = np.linspace(190, 215, 300)
    alike = []
    for digit in some_digits(50):
        ink = np.pad(enlarged(digit, 200), 50) / 255.0
        photo = light - 120 * ink + noise.normal(0, 4, ink.shape)
        alike.append(like(prepared(np.clip(photo, 0, 255).astype(np.uint8)), digit))
    assert np.median(alike) > 0.9
    assert np.mean(np.array(alike) > 0.7) > 0.95


def test_clothes_of_28_x_28_keep_their_place():
    image = np.zeros((28, 28, 1), np.uint8)
    image[3:20, 5:9] = 255
    np.testing.assert_array_equal(
        preprocess(image, fashion_mnist_input().preprocessing), image / np.float32(255)
    )


def test_folders_accept_gray_and_color_images():
    noise = np.random.default_rng(0)
    for channels in (1, 3):
        spec = folder_input(16, channels)
        for came in (1, 3):
            pixels = noise.integers(0, 256, (30, 20, came), dtype=np.uint8)
            assert preprocess(pixels, spec.preprocessing).shape == spec.shape == (16, 16, channels)


SPEC = digits_input()
IMAGES = datasets.load("digits").images[:100]


@pytest.mark.parametrize("name", ["digits", "mnist", "fashion_mnist"])
def test_many_images_are_prepared_exactly_as_each_alone(name):
    random = np.random.default_rng(0)
    gray = random.integers(0, 256, (3, 30, 30, 1), np.uint8)
    spots = (255 * (random.random((60, 30, 30, 1)) < 0.02)).astype(np.uint8)
    framed = np.pad(255 - IMAGES, ((0, 0), (11, 11), (11, 11), (0, 0)))
    even = np.full((2, 30, 30, 1), [[[[0]]], [[[99]]]], np.uint8)
    images = np.concatenate([np.pad(IMAGES, ((0, 0), (3, 19), (9, 13), (0, 0))), spots // 2])
    images = np.concatenate([images, gray, spots, framed, even, 255 - images])
    spec = datasets.known_input(name)
    each = [preprocess(image, spec.preprocessing) for image in images]
    np.testing.assert_array_equal(prepare_images(images, spec), each)


def test_a_larger_canvas_and_less_contrast_hardly_matter():
    pale = (np.pad(IMAGES, ((0, 0), (5, 2), (1, 9), (0, 0))) // 2 + 40).astype(np.uint8)
    difference = np.abs(prepare_images(pale, SPEC) - prepare_images(IMAGES, SPEC))
    moved = difference.max(axis=(1, 2, 3)) > 0.01
    # A center of mass halfway between two cells may move to either.
    assert moved.mean() <= 0.01


def test_statistics_are_of_the_given_examples():
    tensors = np.array([0.0, 0.0, 0.25, 1.0], dtype=np.float32).reshape(2, 2, 1, 1)
    spec = ImageInput(
        name="image", dtype="float32", shape=(2, 1, 1), range=(0, 1), preprocessing=()
    )
    found = input_statistics(tensors, np.array([2, 0]), 3, spec)
    assert (found.examples, found.minimum, found.maximum) == (2, 0.0, 1.0)
    assert found.mean == 0.3125
    assert found.std == tensors.std(dtype=np.float64)
    assert found.histogram == (0.5, 0, 0.25, 0, 0, 0, 0, 0, 0, 0.25)
    assert found.label_share == (0.5, 0, 0.5)
