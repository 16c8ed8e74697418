"""The strokes of one symbol are found in all kinds of photographs."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from rockstar_contract.preprocessing import preprocess
from rockstar_contract.strokes import isolate_strokes
from rockstar_training.datasets import known_input

SIZE = 280


def seven(paper=255, ink=0, width=20, size=SIZE):
    image = Image.new("L", (size, size), paper)
    at = [(x * size / 280, y * size / 280) for x, y in ((75, 62), (205, 62), (125, 222))]
    ImageDraw.Draw(image).line(at, fill=ink, width=round(width * size / 280), joint="curve")
    return image


def tensor(image, data="mnist"):
    pixels = np.asarray(image)
    return preprocess(pixels[:, :, np.newaxis], known_input(data).preprocessing)


def likeness(image, data="mnist"):
    """Correlation of the preprocessed picture with the preprocessed plain one."""
    plain = tensor(seven(), data)
    return np.corrcoef(tensor(image, data).ravel(), plain.ravel())[0, 1]


def lit(image, light):
    return Image.fromarray((np.asarray(image, float) * light).astype(np.uint8))


def grid(step, color, across=True):
    image = Image.new("L", (SIZE, SIZE), 250)
    on = ImageDraw.Draw(image)
    for place in range(7, SIZE, step):
        on.line([(0, place), (SIZE, place + 9)], fill=color, width=2)
        if across:
            on.line([(place, 0), (place - 9, SIZE)], fill=color, width=2)
    return ImageOps.invert(
        Image.fromarray(
            np.maximum(255 - np.asarray(image), 255 - np.asarray(seven())).astype(np.uint8)
        )
    )


def inset_box():
    image = seven(size=400)
    ImageDraw.Draw(image).rectangle((20, 20, 379, 379), outline=90, width=2)
    return image


def on_a_desk(desk):
    return ImageOps.expand(seven(paper=235), 45, desk)


RAMP = np.linspace(0.3, 1, SIZE)
NOISE = np.random.default_rng(3).normal(0, 4, (SIZE, SIZE))
PHOTOS = {
    "light falls from the left": lit(seven(240, 30), RAMP),
    "light falls from above": lit(seven(240, 30), RAMP[:, np.newaxis]),
    "a hard shadow across": lit(seven(240, 30), np.where(np.arange(SIZE) < 150, 0.5, 1)),
    "low light and noise": Image.fromarray(
        np.clip(np.asarray(lit(seven(240, 30), 0.25), float) + NOISE, 0, 255).astype(np.uint8)
    ),
    "out of focus": seven().filter(ImageFilter.GaussianBlur(5)),
    "ruled": grid(36, 120, across=False),
    "squared": grid(30, 140),
    "a frame of 1 px": ImageOps.expand(seven(), 1, 0),
    "a frame of 12 px": ImageOps.expand(seven(), 12, 0),
    "a white frame, light on dark": ImageOps.expand(ImageOps.invert(seven()), 4, 255),
    "a box around": inset_box(),
    "a dark desk": on_a_desk(30),
    "a grey desk": on_a_desk(110),
    "a light desk edge on one side": ImageOps.expand(seven(paper=180), (60, 0, 0, 0), 90),
    "chalk": seven(50, 210),
    "pencil": seven(235, 170, width=9),
    "marker": seven(width=34),
    "a corner of a large picture": ImageOps.expand(seven(), (40, 900, 900, 40), 255),
    "cut out closely": ImageOps.invert(seven()).crop(ImageOps.invert(seven()).getbbox()),
}


@pytest.mark.parametrize("data", ["mnist", "digits"])
@pytest.mark.parametrize("kind", PHOTOS)
def test_the_symbol_is_found_in(kind, data):
    # Thin and thick pens leave different strokes.
    assert likeness(PHOTOS[kind], data) > (0.7 if kind in ("pencil", "marker") else 0.9)


def test_specks_and_dots_are_removed():
    image = seven()
    on, random = ImageDraw.Draw(image), np.random.default_rng(0)
    for x, y in random.uniform(0, SIZE, (60, 2)):
        on.ellipse([x, y, x + 4, y + 4], fill=0)
    assert likeness(image) > 0.8


def test_pieces_of_a_broken_stroke_belong_together():
    image = seven()
    ImageDraw.Draw(image).line([(0, 140), (SIZE, 150)], fill=255, width=12)
    assert likeness(image) > 0.8


@pytest.mark.parametrize("size", [28, 40, 64])
@pytest.mark.parametrize("frame", [1, 3])
def test_frame_around_a_small_cell_is_removed(size, frame):
    cell = seven().resize((size, size))
    ImageDraw.Draw(cell).rectangle((0, 0, size - 1, size - 1), outline=0, width=frame)
    assert likeness(cell) > 0.8


@pytest.mark.parametrize("data", ["mnist", "digits"])
@pytest.mark.parametrize("width", [8, 26, 40])
def test_a_straight_one_is_kept(width, data):
    # Its strokes fill the box, and are not an empty frame.
    image = Image.new("L", (336, 336), 255)
    ImageDraw.Draw(image).rounded_rectangle((155, 55, 155 + width, 283), width // 2, fill=16)
    pixels = tensor(image, data)[:, :, 0]
    rows, columns = np.nonzero(pixels > 0.5)
    assert np.ptp(rows) >= 0.6 * len(pixels)
    assert np.ptp(columns) <= 0.3 * len(pixels)
    assert columns.mean() == pytest.approx((len(pixels) - 1) / 2, abs=1)


def test_small_images_are_not_changed():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 1), np.uint8)
    (step,) = [s for s in known_input("mnist").preprocessing if hasattr(s, "small")]
    assert step(pixels) is pixels


def test_empty_paper_has_no_symbol():
    paper = np.clip(NOISE + 200, 0, 255).astype(np.uint8)
    assert not isolate_strokes(paper).any()
    assert not isolate_strokes((paper * RAMP).astype(np.uint8)).any()


@pytest.mark.parametrize("shape", [(1, 65), (65, 1), (2, 900), (300, 5), (70, 70), (65, 4000)])
def test_images_of_any_shape(shape):
    random = np.random.default_rng(shape[0])
    for pixels in (
        random.integers(0, 256, shape, np.uint8),
        np.full(shape, 255, np.uint8),
        (random.random(shape) > 0.97).astype(np.uint8) * 255,
    ):
        prepared = preprocess(pixels[:, :, np.newaxis], known_input("digits").preprocessing)
        assert prepared.shape == (20, 20, 1)
        assert np.isfinite(prepared).all()


def test_two_symbols_are_both_kept():
    both = Image.new("L", (2 * SIZE, SIZE), 255)
    for place in (0, SIZE):
        both.paste(seven(), (place, 0))
    ink = isolate_strokes(np.asarray(both))
    left, right = np.array_split(ink > 128, 2, axis=1)
    assert left.sum() == pytest.approx(right.sum(), rel=0.2)
    assert likeness(both) < 0.6


def test_a_line_of_pixels_is_not_padded_to_a_square():
    line = np.zeros((1, 200_000), np.uint8)
    tracemalloc.start()
    try:
        for photo in (line, line.T):
            assert isolate_strokes(photo).size < 10_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000
