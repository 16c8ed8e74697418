from itertools import chain
from typing import Any

import numpy as np

from rockstar_training.augmentation import augmentation_for
from rockstar_training.pipeline import Order, batches, in_memory
from rockstar_training.prepared_data import Part
from rockstar_training.tensorflow_setup import tf
from tests.unit.training.small_data import make_part

STRONG = augmentation_for("digits", 1.0)
STRATEGY = tf.distribute.get_strategy()


class Files:
    """Ten images, each filled with its number, as if from disk."""

    def __init__(self):
        self.read: list[int] = []

    def tensors(self, places):
        self.read += places.tolist()
        return np.tile(places.astype(np.float32)[:, None, None, None], (1, 4, 4, 1))

    def raw(self, place):
        return b""


def streamed() -> Part:
    files: Any = Files()
    return Part(files, np.arange(10), np.arange(10))


def taken(part, order, first, last):
    return [batch.targets.numpy().tolist() for batch in batches(part, order, first, last, STRATEGY)]


def test_every_epoch_has_every_example_once_in_a_different_order():
    first, second = (taken(streamed(), Order(4, seed=1), n, n + 3) for n in (0, 3))
    assert [len(batch) for batch in first] == [4, 4, 2]
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(10))
    assert first != second


def test_without_a_seed_examples_come_as_they_lie():
    assert taken(streamed(), Order(4), 0, 3) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_later_start_continues_the_same_sequence():
    order = Order(4, seed=7, augmentation=STRONG)
    part = in_memory(streamed())
    whole = list(batches(part, order, 0, 9, STRATEGY))
    rest = list(batches(part, order, 5, 9, STRATEGY))
    for expected, got in zip(whole[5:], rest, strict=True):
        np.testing.assert_array_equal(expected.inputs, got.inputs)
        np.testing.assert_array_equal(expected.seed, got.seed)


def test_other_seeds_give_other_orders():
    assert taken(streamed(), Order(10, seed=1), 0, 1) != taken(streamed(), Order(10, seed=2), 0, 1)


def test_inputs_belong_to_their_targets_streamed_or_in_memory():
    for part in (streamed(), in_memory(streamed())):
        for batch in batches(part, Order(3, seed=1), 0, 4, STRATEGY):
            np.testing.assert_array_equal(batch.inputs[:, 0, 0, 0], batch.targets)
            assert batch.inputs.shape[1:] == (4, 4, 1)


def test_data_too_large_for_memory_is_read_batch_by_batch(monkeypatch):
    monkeypatch.setattr("rockstar_training.pipeline.MEMORY_LIMIT", 100)
    part = streamed()
    assert in_memory(part) is part
    part.examples.read.clear()
    next(iter(batches(part, Order(2), 0, 1, STRATEGY)))
    assert part.examples.read[-2:] == [0, 1]


def test_augmentation_changes_images_and_keeps_their_range():
    images = np.zeros((6, 20, 20, 1), np.float32)
    images[:, 5:15, 8:12] = 1
    six = make_part(images, np.arange(6))
    (batch,) = batches(six, Order(6, seed=1, augmentation=STRONG), 0, 1, STRATEGY)
    changed = batch.inputs.numpy()
    assert changed.shape == images.shape
    assert 0 <= changed.min() <= changed.max() <= 1
    assert len({image.tobytes() for image in changed}) == 6
    assert (changed[:, :2, :2] == 0).all()


def test_color_is_augmented_too():
    images = np.random.default_rng(1).uniform(size=(2, 8, 8, 3)).astype(np.float32)
    two = make_part(images, np.arange(2))
    (batch,) = batches(two, Order(2, seed=1, augmentation=STRONG), 0, 1, STRATEGY)
    assert batch.inputs.shape == (2, 8, 8, 3)
    assert np.abs(batch.inputs - images).max() > 0
