"""Images of no class, and the threshold that is chosen with them."""

import numpy as np
import pytest

from training.augmentation import augmentation_for, score_threshold, without_class
from training.prepared import MemoryExamples, Part
from training.tensorflow_setup import tf

SEED = tf.constant([7, 1], tf.int64)
IMAGES = np.zeros((12, 20, 20, 1), np.float32)
IMAGES[:, 4:16, 8:11] = 1
IMAGES[:, 4:7, 8:15] = 1
TARGETS = np.zeros(12, np.int64)
BY = augmentation_for("digits", 1.0)


def made(count):
    return without_class(tf.constant(IMAGES), SEED, tf.constant(count, tf.int64)).numpy()


def test_images_without_a_class_are_like_images_and_repeat_with_their_seed():
    images = made(24)
    assert images.shape == (24, 20, 20, 1)
    assert images.min() >= 0
    assert images.max() <= 1
    np.testing.assert_array_equal(images, made(24))
    assert len(np.unique(images.sum(axis=(1, 2, 3)))) > 8
    # Nothing at all is one of the six kinds, an image of the class is none.
    assert (~images.any(axis=(1, 2, 3))).sum() == 4
    assert not any(np.array_equal(each, IMAGES[0]) for each in images)


def of(right, unknown):
    """A model that answers a score for images of the class and another for all else."""

    def answer(batch):
        known = np.isclose(batch, IMAGES[0]).all(axis=(1, 2, 3))
        score = np.where(known, right, unknown)
        return np.stack([score, *[(1 - score) / 9] * 9], axis=1).astype(np.float32)

    return answer


@pytest.mark.parametrize(
    ("right", "unknown", "expected"), [(0.6, 0.3, 0.45), (0.45, 0.55, 0.45), (0.9, 0.6, 0.5)]
)
def test_the_threshold_lies_between_but_loses_few_right_answers(right, unknown, expected):
    examples = MemoryExamples(IMAGES, raw=lambda _: b"", source=str)
    part = Part(examples, np.arange(12), TARGETS)
    assert score_threshold(of(right, unknown), part, BY, 0) == pytest.approx(expected, abs=0.01)


def test_without_images_of_no_class_there_is_no_threshold():
    examples = MemoryExamples(IMAGES, raw=lambda _: b"", source=str)
    part = Part(examples, np.arange(12), TARGETS)
    assert score_threshold(of(0.9, 0.5), part, augmentation_for("fashion_mnist", 1.0), 0) is None
    assert score_threshold(of(0.9, 0.5), part, None, 0) is None
