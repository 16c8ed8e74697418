import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from serving.errors import InvalidInputError, TooLargeError
from serving.images import decode_image
from tests.images import bomb, encoded, png, stroke


def saved(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def test_grey_and_colour_keep_their_pixels():
    grey = stroke()
    np.testing.assert_array_equal(decode_image(png(grey)), grey[:, :, np.newaxis])
    colour = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    np.testing.assert_array_equal(decode_image(png(colour)), colour)


def test_transparency_is_laid_on_white():
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (10, 20, 30, 255)
    decoded = decode_image(png(pixels))
    assert decoded[0, 0].tolist() == [10, 20, 30]
    assert decoded[1, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "CMYK", "I;16", "L", "RGB"])
def test_every_mode_becomes_8_bit(mode):
    ramp = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (4, 1))
    if mode == "I;16":
        image = Image.fromarray(ramp.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(ramp).convert(mode)
    decoded = decode_image(saved(image, "TIFF" if mode == "CMYK" else "PNG"))
    assert decoded.dtype == np.uint8
    assert decoded.shape[:2] == ramp.shape
    if mode not in ("1", "CMYK"):
        np.testing.assert_allclose(decoded[:, :, 0], ramp, atol=2)


def test_exif_orientation_is_obeyed():
    image = Image.fromarray(stroke())
    exif = image.getexif()
    exif[0x0112] = 6  # turned by a quarter
    upright = decode_image(saved(image, exif=exif))
    np.testing.assert_array_equal(upright[:, :, 0], np.rot90(stroke(), -1))


def test_of_an_animation_the_first_frame_counts():
    frames = [Image.fromarray(stroke()), Image.fromarray(255 - stroke())]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode_image(data)[:, :, 0], stroke())


def test_a_bomb_is_refused_by_its_header():
    for data in (bomb(), bomb(5000, 5000)):
        with pytest.raises(TooLargeError):
            decode_image(data)


def test_the_pixel_limit_is_exact():
    data = png(np.zeros((10, 10), np.uint8))
    assert decode_image(data, max_pixels=100).shape == (10, 10, 1)
    with pytest.raises(TooLargeError, match="10 x 10"):
        decode_image(data, max_pixels=99)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_a_cut_off_image_is_refused(format):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    data = encoded(noise, format)
    with pytest.raises(InvalidInputError):
        decode_image(data[: len(data) // 2])


@given(st.integers(0, 300), st.binary(max_size=8), st.sampled_from(["PNG", "GIF", "TIFF", "BMP"]))
@settings(max_examples=150, deadline=None)
def test_a_damaged_image_is_decoded_or_refused(place, damage, format):
    data = encoded(stroke(), format)
    place = min(place, len(data))
    damaged = data[:place] + damage + data[place + len(damage) :]
    with contextlib.suppress(InvalidInputError):
        assert decode_image(damaged, max_pixels=100_000).dtype == np.uint8


def test_white_ink_without_paper_is_seen():
    ink = np.zeros((8, 8, 4), np.uint8)
    ink[2:6, 3:5] = 255
    pixels = decode_image(encoded(ink, "PNG"))
    assert pixels[3, 3].tolist() == [255, 255, 255]
    assert pixels[0, 0].tolist() == [0, 0, 0]
