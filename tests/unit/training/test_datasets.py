import re
import subprocess
import sys

import numpy as np
import pytest

from rockstar_training import datasets
from rockstar_training.errors import DataError


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


def test_digits_are_what_scikit_learn_bundles(digits):
    assert digits.images.shape == (1797, 8, 8, 1)
    assert digits.images.dtype == np.uint8
    assert (digits.images.min(), digits.images.max()) == (0, 255)
    assert digits.labels.shape == (1797,)
    assert digits.labels.dtype == np.int64
    assert digits.label_names == tuple("0123456789")
    assert digits.sha256 == "0b7e9c3202d7bcd255d6a19a238d3743bf5e320ba74812a6679958a017c55382"


def test_the_sixteen_shades_stay_apart(digits):
    assert len(np.unique(digits.images)) == 17


def test_unknown_data_set_names_the_known_ones():
    with pytest.raises(DataError, match=r"no data set 'cifar'; known are: digits"):
        datasets.load("cifar")


def test_split_is_disjoint_complete_and_repeatable(digits):
    first, again = datasets.split(digits, 0.2, seed=3), datasets.split(digits, 0.2, seed=3)
    np.testing.assert_array_equal(first.test_index, again.test_index)
    np.testing.assert_array_equal(first.train_index, again.train_index)
    both = np.concatenate([first.train_index, first.test_index])
    np.testing.assert_array_equal(np.sort(both), np.arange(1797))
    assert len(first.test_index) == 360


def test_another_seed_gives_another_split(digits):
    first, other = datasets.split(digits, 0.2, seed=3), datasets.split(digits, 0.2, seed=4)
    assert not np.array_equal(first.test_index, other.test_index)


def test_split_holds_the_same_share_of_every_label_out(digits):
    held_out = digits.labels[datasets.split(digits, 0.2, seed=3).test_index]
    share = np.bincount(held_out) / np.bincount(digits.labels)
    np.testing.assert_allclose(share, 0.2, atol=0.01)


def test_a_small_split_has_room_for_every_label(digits):
    held_out = digits.labels[datasets.split(digits, 0.001, seed=3).test_index]
    assert sorted(held_out) == list(range(10))


def test_the_only_example_of_a_label_is_trained_on():
    index = np.arange(10, 20)
    labels = np.array([0] * 5 + [1] * 4 + [2])
    kept, held_out = datasets.hold_out(index, labels, 0.3, seed=1, name="rows")
    assert 19 in kept
    assert set(labels[held_out - 10]) == {0, 1}
    np.testing.assert_array_equal(np.sort([*kept, *held_out]), index)


def test_labels_that_all_have_one_example_are_refused():
    message = "cannot hold 0.2 of rows out, which has 3 examples to divide; each label needs two"
    with pytest.raises(DataError, match=re.escape(message)):
        datasets.hold_out(np.arange(3), np.arange(3), 0.2, seed=3, name="rows")
    with pytest.raises(DataError, match=r"1 examples to divide; a regression needs two$"):
        datasets.hold_out(np.arange(1), None, 0.2, seed=3, name="rows")


@pytest.mark.parametrize(
    "module",
    ["rockstar_training.datasets", "rockstar_training.config", "rockstar_training.progress"],
)
def test_imports_without_tensorflow(module):
    code = (
        f"import sys, {module}\n"
        "if 'datasets' in sys.modules['" + module + "'].__name__:\n"
        f"    {module}.load('digits')\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
