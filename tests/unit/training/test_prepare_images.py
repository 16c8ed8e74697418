import numpy as np

from rockstar_contract.contract import ImageInput
from rockstar_training import datasets
from rockstar_training.datasets import digits_input, prepare_images
from rockstar_training.prepared import input_statistics

SPEC = digits_input()
IMAGES = datasets.load("digits").images[:100]


def test_tensors_are_as_the_contract_says():
    tensors = prepare_images(IMAGES, SPEC)
    assert tensors.shape == (100, *SPEC.shape)
    assert tensors.dtype == np.float32
    assert tensors.min() >= SPEC.range[0]
    assert tensors.max() <= SPEC.range[1]


def test_ink_on_white_becomes_the_same_as_white_on_black():
    np.testing.assert_allclose(
        prepare_images(255 - IMAGES, SPEC), prepare_images(IMAGES, SPEC), atol=1e-5
    )


def test_a_larger_canvas_and_less_contrast_hardly_matter():
    pale = (np.pad(IMAGES, ((0, 0), (5, 2), (1, 9), (0, 0))) // 2 + 40).astype(np.uint8)
    difference = np.abs(prepare_images(pale, SPEC) - prepare_images(IMAGES, SPEC))
    moved = difference.max(axis=(1, 2, 3)) > 0.01
    # A centre of mass half-way between two cells may go to either.
    assert moved.mean() <= 0.01


def test_statistics_are_of_what_they_are_given():
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
