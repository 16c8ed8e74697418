"""Random changes of drawings, images of no class, and the threshold chosen with them."""

import numpy as np
import pytest

from rockstar_training.augmentation import (
    Augmentation,
    augment,
    augmentation_for,
    score_threshold,
    without_class,
)
from rockstar_training.tensorflow_setup import tf
from tests.unit.training.small_data import make_part

SEED = tf.constant([7, 1], tf.int64)
IMAGES = np.zeros((12, 20, 20, 1), np.float32)
IMAGES[:, 4:16, 8:11] = 1
IMAGES[:, 4:7, 8:15] = 1
TARGETS = np.zeros(12, np.int64)
BY = augmentation_for("digits", 1.0)


def changed(by, number):
    """The images, with the same number for every random choice."""
    numbers = tf.fill([len(IMAGES), by.numbers], tf.constant(number, tf.float32))
    return augment(tf.constant(IMAGES), numbers, by).numpy()


@pytest.mark.parametrize("finer", [1, 2])
def test_nothing_changes_where_every_choice_is_the_middle_one(finer):
    by = Augmentation(20, 0.1, 0.1, aspect=0.2, shear=0.4, bend=2, stroke=1, gaps=0.2, finer=finer)
    images = changed(by, 0)
    # A finer grid blurs edges, equally on all sides.
    np.testing.assert_allclose(images, IMAGES, atol=0 if finer == 1 else 0.3)
    np.testing.assert_allclose(images.sum((1, 2)), IMAGES.sum((1, 2)), rtol=1e-5)


@pytest.mark.parametrize("finer", [1, 2])
def test_parts_that_are_all_bent_alike_move_as_a_whole(finer):
    straight = changed(Augmentation(0, 0, 0, finer=finer), 0)
    bent = changed(Augmentation(0, 0, 0, bend=2, finer=finer), -1)
    np.testing.assert_allclose(bent[:, 3:19, 3:19], straight[:, 1:17, 1:17], atol=0.01)


def test_parts_that_are_bent_apart_change_the_shape_and_keep_the_range():
    by = Augmentation(0, 0, 0, bend=1.5)
    numbers = tf.random.stateless_uniform([len(IMAGES), by.numbers], [1, 2], -1.0, 1.0)
    images = augment(tf.constant(IMAGES), numbers, by).numpy()
    assert len(np.unique(images.sum((1, 2, 3)))) == len(IMAGES)
    assert 0 <= images.min() <= images.max() <= 1
    assert np.abs(images.sum((1, 2, 3)) / IMAGES.sum((1, 2, 3)) - 1).max() < 0.5


def test_gaps_take_ink_away_in_a_spot():
    assert (changed(Augmentation(0, 0, 0, gaps=0.15), -1) == IMAGES).all()
    images = np.ones((1, 20, 20, 1), np.float32)
    by = Augmentation(0, 0, 0, gaps=0.15)
    left = augment(tf.constant(images), tf.ones([1, by.numbers]), by).numpy()
    # A radius of 3 cells around [0.65, 0.8] of the height and the width.
    assert (left[0, 11:15, 14:18] < 0.5).all()
    assert (1 - left).sum() < 40


def made(count):
    return without_class(tf.constant(IMAGES), SEED, tf.constant(count, tf.int64)).numpy()


def test_images_without_a_class_are_like_images_and_repeat_with_their_seed():
    images = made(24)
    assert images.shape == (24, 20, 20, 1)
    assert images.min() >= 0
    assert images.max() <= 1
    np.testing.assert_array_equal(images, made(24))
    assert len(np.unique(images.sum(axis=(1, 2, 3)))) > 8
    # A blank image is one of the six kinds; an image of the class is not.
    assert (~images.any(axis=(1, 2, 3))).sum() == 4
    assert not any(np.array_equal(each, IMAGES[0]) for each in images)


def of(right, unknown):
    """A model that returns one score for images of the class and another for all others."""

    def answer(batch):
        known = np.isclose(batch, IMAGES[0]).all(axis=(1, 2, 3))
        score = np.where(known, right, unknown)
        return np.stack([score, *[(1 - score) / 9] * 9], axis=1).astype(np.float32)

    return answer


@pytest.mark.parametrize(
    ("right", "unknown", "expected"), [(0.6, 0.3, 0.45), (0.45, 0.55, 0.45), (0.9, 0.6, 0.5)]
)
def test_the_threshold_lies_between_but_loses_few_right_predictions(right, unknown, expected):
    examples = make_part(IMAGES, TARGETS)
    assert score_threshold(of(right, unknown), examples, BY, 0) == pytest.approx(expected, abs=0.01)


def test_without_images_of_no_class_there_is_no_threshold():
    for by in (augmentation_for("fashion_mnist", 1.0), None):
        assert score_threshold(of(0.9, 0.5), make_part(IMAGES, TARGETS), by, 0) is None
