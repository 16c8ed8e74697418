from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rockstar_contract.preprocessing import (
    Centre,
    CentreOnCell,
    Colour,
    CropToContent,
    Fit,
    Grey,
    InvertIfLight,
    Resize,
    Scale,
    StretchContrast,
    SuppressBackground,
    SuppressBorder,
    TrimFrame,
    _quantile,
    preprocess,
)
from tests.contracts import STEPS
from tests.images import stroke

PIXELS = st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3])).flatmap(
    lambda shape: arrays(np.uint8, shape)
)


@given(PIXELS)
@settings(max_examples=100)
def test_any_image_becomes_a_valid_tensor(pixels):
    tensor = preprocess(pixels, STEPS)
    assert tensor.shape == (8, 8, 1)
    assert tensor.dtype == np.float32
    assert tensor.min() >= 0
    assert tensor.max() <= 1


@given(PIXELS)
@settings(max_examples=100)
def test_steps_in_a_row_are_the_steps_one_by_one(pixels):
    border = SuppressBorder(quantile=0.95, factor=1.3, limit=0.6)
    steps = (Grey(), Scale(), TrimFrame(share=0.3), InvertIfLight(), border, InvertIfLight())
    expected = reduce(lambda image, step: step(image), steps, pixels)
    np.testing.assert_array_equal(preprocess(pixels, steps), expected)


def test_a_photo_of_ink_on_paper_is_like_white_on_black():
    """Grainy, unevenly lit paper with gray ink, larger than the original."""
    steps = (Grey(), Scale(), StretchContrast(), InvertIfLight(), SuppressBackground(level=0.3))
    steps += (CropToContent(threshold=0.3), Fit(height=6, width=6), Centre(height=8, width=8))
    clean = stroke(16)
    large = np.kron(clean, np.ones((10, 10)))
    light = np.linspace(200, 230, large.shape[1])[np.newaxis]
    grain = np.random.default_rng(0).normal(0, 4, large.shape)
    photo = np.clip(light - large * (150 / 255) + grain, 0, 255).astype(np.uint8)
    color = np.stack([photo] * 3, axis=2)
    expected = preprocess(clean[:, :, np.newaxis], steps)
    np.testing.assert_allclose(preprocess(color, steps), expected, atol=0.35)


def test_position_and_size_do_not_matter():
    small = np.zeros((40, 40, 1), np.uint8)
    small[5:15, 5:9] = 255
    large = np.zeros((90, 70, 1), np.uint8)
    large[30:80, 20:40] = 255
    np.testing.assert_allclose(preprocess(small, STEPS), preprocess(large, STEPS), atol=0.02)


def test_grey_is_the_luma_of_bt_601():
    red = np.zeros((1, 1, 3), np.uint8)
    red[..., 0] = 255
    assert Grey()(red)[0, 0, 0] == 76  # 0.299 x 255


def test_an_even_image_stays_even():
    for value in (0, 128, 255):
        tensor = preprocess(np.full((9, 9, 1), value, np.uint8), STEPS)
        assert np.isfinite(tensor).all()


def test_crop_keeps_pixels_above_the_threshold():
    image = np.zeros((6, 6, 1), np.float32)
    image[1, 2] = image[3, 4] = 0.5
    image[5, 5] = 0.05
    assert CropToContent(threshold=0.1)(image).shape == (3, 3, 1)


def test_fit_keeps_the_aspect():
    assert Fit(height=10, width=10)(np.ones((40, 20, 1), np.float32)).shape == (10, 5, 1)
    assert Fit(height=10, width=10)(np.ones((1, 500, 1), np.float32)).shape == (1, 10, 1)


def test_resize_ignores_the_aspect():
    assert Resize(height=4, width=6)(np.ones((9, 5, 3), np.float32)).shape == (4, 6, 3)


def test_centre_moves_the_mass_to_the_middle():
    image = np.zeros((5, 5, 1), np.float32)
    image[:, 0] = 1
    centred = Centre(height=9, width=9)(image)
    assert centred.sum() == image.sum()
    assert np.flatnonzero(centred.any(axis=(0, 2))).tolist() == [4]


def test_content_larger_than_the_canvas_is_an_error():
    with pytest.raises(ValueError, match="does not fit"):
        Centre(height=4, width=4)(np.ones((5, 5, 1), np.float32))


def test_color_of_a_grey_image_is_grey():
    grey = stroke()[:, :, np.newaxis]
    color = Colour()(grey)
    assert color.shape == (12, 12, 3)
    assert (color == grey).all()
    assert Colour()(color) is color


def test_suppress_border_ignores_a_dark_border():
    step = SuppressBorder(quantile=0.95, factor=1.3, limit=0.6)
    image = np.zeros((6, 6, 1), np.float32)
    image[2, 2], image[3, 3] = 0.05, 1
    np.testing.assert_array_equal(step(image), image)


def test_suppress_border_removes_grain():
    step = SuppressBorder(quantile=0.95, factor=1.3, limit=0.6)
    image = np.random.default_rng(0).uniform(0.1, 0.3, (40, 40, 1)).astype(np.float32)
    image[10:20, 10:20] = 1
    cleaned = step(image)
    assert cleaned[10:20, 10:20].min() == 1
    cleaned[10:20, 10:20] = 0
    assert cleaned.max() == 0


def test_suppress_border_keeps_a_stroke_along_the_border():
    step = SuppressBorder(quantile=0.95, factor=1.3, limit=0.6)
    image = np.zeros((10, 10, 1), np.float32)
    image[:, 0] = 1
    assert step(image)[:, 0].min() == 1


def test_centre_on_cell_places_the_mass_as_in_mnist():
    image = np.ones((3, 1, 1), np.float32)
    placed = CentreOnCell(height=28, width=28)(image)
    assert np.argwhere(placed[..., 0]).tolist() == [[13, 14], [14, 14], [15, 14]]


@given(
    values=arrays(np.float32, st.integers(1, 300), elements=st.floats(0, 1, width=32)),
    share=st.floats(0, 1),
)
def test_quantiles_equal_those_of_numpy(values, share):
    # Must not change by a bit, because models were trained on it.
    assert _quantile(np.sort(values), share) == np.quantile(values, share)
