from itertools import chain

import numpy as np
import pytest

from training.errors import DataError
from training.pipeline import Arrays, Order, Subset, batches, hold_back, in_memory
from training.tensorflow_setup import tf

STRATEGY = tf.distribute.get_strategy()


class Streamed:
    """Ten images, each filled with its number, as if from disk."""

    count = 10
    targets = np.arange(10, dtype=np.int64)

    def __init__(self):
        self.read: list[int] = []

    def tensors(self, indices):
        self.read += indices.tolist()
        return np.tile(indices.astype(np.float32)[:, None, None, None], (1, 4, 4, 1))


def taken(part, order, first, last):
    return [batch.targets.numpy().tolist() for batch in batches(part, order, first, last, STRATEGY)]


def test_every_epoch_has_every_example_once_in_an_order_of_its_own():
    first, second = (taken(Streamed(), Order(4, seed=1), n, n + 3) for n in (0, 3))
    assert [len(batch) for batch in first] == [4, 4, 2]
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(10))
    assert first != second


def test_without_a_seed_examples_come_as_they_lie():
    assert taken(Streamed(), Order(4), 0, 3) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_later_start_gives_what_would_have_come_there():
    order = Order(4, seed=7, augmentation=1.0)
    part = in_memory(Streamed())
    whole = list(batches(part, order, 0, 9, STRATEGY))
    rest = list(batches(part, order, 5, 9, STRATEGY))
    for expected, got in zip(whole[5:], rest, strict=True):
        np.testing.assert_array_equal(expected.inputs, got.inputs)
        np.testing.assert_array_equal(expected.seed, got.seed)


def test_other_seeds_give_other_orders():
    assert taken(Streamed(), Order(10, seed=1), 0, 1) != taken(Streamed(), Order(10, seed=2), 0, 1)


def test_inputs_belong_to_their_targets_streamed_or_in_memory():
    for part in (Streamed(), in_memory(Streamed())):
        for batch in batches(part, Order(3, seed=1), 0, 4, STRATEGY):
            np.testing.assert_array_equal(batch.inputs[:, 0, 0, 0], batch.targets)
            assert batch.inputs.shape[1:] == (4, 4, 1)


def test_what_is_too_large_for_memory_is_read_batch_by_batch(monkeypatch):
    monkeypatch.setattr("training.pipeline.MEMORY_LIMIT", 100)
    part = Streamed()
    assert in_memory(part) is part
    part.read.clear()
    next(iter(batches(part, Order(2), 0, 1, STRATEGY)))
    assert part.read[-2:] == [0, 1]


def test_augmentation_changes_images_and_keeps_their_range():
    images = np.zeros((6, 20, 20, 1), np.float32)
    images[:, 5:15, 8:12] = 1
    part = Arrays(images, np.arange(6))
    (batch,) = batches(part, Order(6, seed=1, augmentation=1.0), 0, 1, STRATEGY)
    changed = batch.inputs.numpy()
    assert changed.shape == images.shape
    assert 0 <= changed.min() <= changed.max() <= 1
    assert len({image.tobytes() for image in changed}) == 6
    assert (changed[:, :2, :2] == 0).all()


def test_colour_is_augmented_too():
    images = np.random.default_rng(1).uniform(size=(2, 8, 8, 3)).astype(np.float32)
    part = Arrays(images, np.arange(2))
    (batch,) = batches(part, Order(2, seed=1, augmentation=1.0), 0, 1, STRATEGY)
    assert batch.inputs.shape == (2, 8, 8, 3)
    assert np.abs(batch.inputs - images).max() > 0


def test_holding_back_keeps_the_shares_of_the_labels():
    part = Arrays(np.arange(40, dtype=np.float32)[:, None], np.repeat([0, 1], [30, 10]))
    train, validation = hold_back(part, 0.2, 1, stratify=True)
    assert validation is not None
    assert np.bincount(train.targets).tolist() == [24, 8]
    assert np.bincount(validation.targets).tolist() == [6, 2]
    both = [side.tensors(np.arange(side.count))[:, 0] for side in (train, validation)]
    assert sorted(np.concatenate(both)) == list(range(40))


def test_nothing_is_held_back_where_nothing_is_asked_for():
    part = Arrays(np.zeros((4, 1), np.float32), np.arange(4))
    assert hold_back(part, 0.0, 1, stratify=True) == (part, None)


def test_too_few_examples_to_hold_back_are_told():
    part = Arrays(np.zeros((4, 1), np.float32), np.arange(4))
    with pytest.raises(DataError, match=r"cannot hold 0.5 of the training data back"):
        hold_back(part, 0.5, 1, stratify=True)


def test_a_subset_of_a_subset_counts_its_own_examples():
    inner = Subset(Streamed(), np.array([1, 3, 5]))
    outer = Subset(inner, np.array([0, 2]))
    assert (outer.count, outer.targets.tolist()) == (2, [1, 5])
    assert outer.tensors(np.array([1]))[0, 0, 0, 0] == 5
