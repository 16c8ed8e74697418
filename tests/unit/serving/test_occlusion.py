import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rockstar_contract.tables import CategoricalColumn, DateColumn, NumericColumn, encode_row
from rockstar_serving.occlusion import (
    Occlusion,
    draw,
    plan,
    replaced_rows,
    typical_value,
)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(2, 300))
def test_every_pixel_is_covered_within_the_budget(height: int, width: int, budget: int) -> None:
    occlusion = plan(height, width, budget)
    image = np.ones((height, width, 1), np.float32)
    scores = np.zeros(1 + len(occlusion.corners))
    assert len(scores) <= budget
    assert occlusion.images(image).shape == (len(scores), height, width, 1)
    assert np.isfinite(occlusion.heatmap(scores)).all()


def test_more_budget_gives_a_finer_grid() -> None:
    assert plan(28, 28, 256).stride < plan(28, 28, 64).stride
    assert plan(28, 28, 256) == Occlusion(28, 28, window=6, stride=2)


def test_the_pixels_that_decide_are_found() -> None:
    image = np.zeros((20, 20, 1), np.float32)
    image[4:8, 12:16] = 1  # the only pixels that the model below uses
    image[15:18, 2:5] = 1
    occlusion = plan(20, 20, 256)
    scores = occlusion.images(image)[:, 4:8, 12:16].mean(axis=(1, 2, 3))
    heatmap = occlusion.heatmap(scores)
    top, left = np.unravel_index(heatmap.argmax(), heatmap.shape)
    assert 4 <= top < 8
    assert 12 <= left < 16
    assert heatmap[15:18, 2:5].max() == 0


def test_the_cover_resembles_the_surroundings_of_the_object() -> None:
    image = np.full((10, 10, 3), [0.9, 0.8, 0.7], np.float32)
    image[4:6, 4:6] = 0
    covered = plan(10, 10, 200).images(image)
    blank = np.full((10, 10, 3), [0.9, 0.8, 0.7], np.float32)
    assert any(np.array_equal(each, blank) for each in covered[1:])
    assert np.array_equal(covered[0], image)


@pytest.mark.parametrize("channels", [1, 3])
def test_for_is_orange_and_against_is_blue(channels: int) -> None:
    heatmap = np.zeros((4, 4))
    heatmap[0, 0], heatmap[3, 3] = 1, -1
    picture = Image.open(io.BytesIO(draw(np.zeros((4, 4, channels), np.float32), heatmap, (0, 1))))
    assert picture.size == (336, 336)
    red, _, blue = picture.getpixel((5, 5))  # type: ignore[misc]
    assert red > blue
    red, _, blue = picture.getpixel((330, 330))  # type: ignore[misc]
    assert blue > red
    assert picture.getpixel((168, 5)) == (0, 0, 0)


def test_a_flat_heatmap_shows_the_image_alone() -> None:
    image = np.full((2, 400, 1), 0.5, np.float32)
    picture = Image.open(io.BytesIO(draw(image, np.zeros((2, 400)), (0, 1))))
    assert picture.size == (400, 2)
    assert picture.getpixel((0, 0)) == (128, 128, 128)


COLUMNS = (
    NumericColumn(name="age", mean=40.0, scale=10.0, fill=38.0, indicator=True),
    CategoricalColumn(name="color", categories=("blue", "red"), fill="blue", other=True),
    DateColumn(name="day", format="iso", mean=19_723.0, scale=100.0, fill=19_723.0),
)
ROW = {"age": 60, "color": "red", "day": "2024-03-01"}
TYPICAL = {"age": 40.0, "color": "blue", "day": "2024-01-01"}


def test_each_copy_has_one_typical_column():
    rows = replaced_rows(encode_row(ROW, COLUMNS, "row"), COLUMNS)
    wanted = [ROW, *(ROW | {name: TYPICAL[name]} for name in TYPICAL)]
    np.testing.assert_array_equal(rows, [encode_row(row, COLUMNS, "row") for row in wanted])


def test_typical_values_are_those_that_are_shown():
    assert {column.name: typical_value(column) for column in COLUMNS} == TYPICAL


def test_a_missing_value_is_replaced_by_one_that_is_there():
    tensor = encode_row({"color": "red"}, COLUMNS[:2], "row")
    assert tensor[1] == 1
    assert replaced_rows(tensor, COLUMNS[:2])[1][1] == 0
