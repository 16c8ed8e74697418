import numpy as np
import pytest

from rockstar_training import datasets
from rockstar_training.datasets import load_arrays
from rockstar_training.errors import DataError
from tests.shared_data import shared_data


def arrays(**changes):
    images = np.random.default_rng(0).integers(0, 256, (24, 28, 28), dtype=np.uint8)
    labels = np.arange(24, dtype=np.uint8) % 10
    good = {"x_train": images, "y_train": labels, "x_test": images[:12], "y_test": labels[:12]}
    return good | changes


def nothing(name):
    raise OSError(f"no network for {name}")


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
    split = datasets.split(dataset, 0.5, seed=9)
    assert split.test_index.tolist() == list(range(24, 36))
    assert split.train_index.tolist() == list(range(24))


def test_else_it_is_downloaded(tmp_path):
    asked = []

    def download(name):
        asked.append(name)
        return tuple(arrays().values())

    found = load_arrays("fashion_mnist", tmp_path, download)
    assert asked == ["fashion_mnist"]
    np.testing.assert_array_equal(found[0], arrays()["x_train"])


def test_missing_data_says_where_it_looked_and_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv("ROCKSTAR_DATA_DIR", raising=False)
    with pytest.raises(DataError) as caught:
        load_arrays("mnist", tmp_path, nothing)
    for words in (f"mnist.npz is not in {tmp_path}", "no network for mnist", "--data-dir DIR"):
        assert words in str(caught.value)
    with pytest.raises(DataError, match="ROCKSTAR_DATA_DIR is not set"):
        load_arrays("mnist", None, nothing)


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
        load_arrays("mnist", written(tmp_path, **changes), nothing)


def test_an_array_that_is_not_there_is_named(tmp_path):
    without = {name: array for name, array in arrays().items() if name != "y_test"}
    np.savez(tmp_path / "mnist.npz", **without)
    with pytest.raises(DataError, match=r"no array .*y_test"):
        load_arrays("mnist", tmp_path, nothing)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no archive"])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / "mnist.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"mnist.npz cannot be read"):
        load_arrays("mnist", tmp_path, nothing)


def test_mnist_itself():
    dataset = datasets.load("mnist", shared_data("mnist.npz").parent)
    assert dataset.images.shape == (70000, 28, 28, 1)
    assert dataset.test_count == 10000
    assert np.bincount(dataset.labels[-10000:]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]  # fmt: skip
