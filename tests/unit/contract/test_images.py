import contextlib
import io
import re
import struct
import sys
import tracemalloc
import zlib

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rockstar_contract.errors import InvalidInputError, TooLargeError
from rockstar_contract.images import WORKING_PIXELS, decode_image
from tests.images import bomb, encoded, png, stroke


def saved(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def test_grey_and_color_keep_their_pixels():
    grey = stroke()
    np.testing.assert_array_equal(decode_image(png(grey)), grey[:, :, np.newaxis])
    color = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    np.testing.assert_array_equal(decode_image(png(color)), color)


def test_transparency_is_laid_on_white():
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (10, 20, 30, 255)
    decoded = decode_image(png(pixels))
    assert decoded[0, 0].tolist() == [10, 20, 30]
    assert decoded[1, 1].tolist() == [255, 255, 255]


def test_the_transparent_value_of_a_16_bit_png_is_laid_on_white():
    data = encoded(np.array([[0, 30_000, 65_535]], np.uint16), "PNG", transparency=30_000)
    assert decode_image(data)[..., 0].tolist() == [[0, 255, 255]]


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


@pytest.mark.parametrize(
    ("head", "dtype", "channels"),
    [
        (b"P5\n# faces\n7 5\n255\n", "u1", 1),
        (b"P6 7 5 255 ", "u1", 3),
        (b"P5\n7 5\n65535\n", ">u2", 1),
    ],
)
def test_netpbm_images(head, dtype, channels):
    values = np.arange(5 * 7 * channels, dtype=dtype).reshape(5, 7, channels)
    values *= 65535 // 255 if dtype == ">u2" else 1
    decoded = decode_image(head + values.tobytes())
    np.testing.assert_array_equal(decoded, np.arange(values.size).reshape(values.shape))


def test_decompression_bombs_are_rejected():
    for data in (bomb(), bomb(8000, 8000)):
        with pytest.raises(TooLargeError):
            decode_image(data)


def test_the_pixel_limit_is_exact():
    data = png(np.zeros((10, 10), np.uint8))
    assert decode_image(data, max_pixels=100).shape == (10, 10, 1)
    with pytest.raises(TooLargeError, match="10 x 10"):
        decode_image(data, max_pixels=99)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "PPM"])
def test_truncated_images_are_rejected(format):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    data = encoded(noise, format)
    with pytest.raises(InvalidInputError):
        decode_image(data[: len(data) // 2])


ENCODED = [encoded(stroke(), kind) for kind in ("PNG", "GIF", "TIFF", "BMP", "AVIF", "PPM")]


@given(st.integers(0, 400), st.binary(max_size=8), st.sampled_from(ENCODED))
@settings(max_examples=250)
def test_damaged_images_are_decoded_or_rejected(place, damage, data):
    place = min(place, len(data))
    damaged = data[:place] + damage + data[place + len(damage) :]
    with contextlib.suppress(InvalidInputError):
        assert decode_image(damaged, max_pixels=100_000).dtype == np.uint8


def seven(size: int = 64) -> np.ndarray:
    """A seven, dark on white, uint8 [size, size], with no symmetry."""
    pixels = np.full((size, size), 255, np.uint8)
    pixels[size // 8 : size // 4, size // 8 : size // 2] = 0
    pixels[size // 8 : size * 3 // 4, size // 2 : size * 5 // 8] = 0
    return pixels


def exif(*entries: tuple[int, int, int, bytes | None], extra: bytes = b"") -> bytes:
    """EXIF of (tag, type, count, value of 4 bytes); without a value, it refers to `extra`."""
    entries = tuple(sorted(entries, key=lambda entry: entry[0]))
    content = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries))
    for tag, kind, count, value in entries:
        offset = struct.pack("<I", 14 + 12 * len(entries))
        content += struct.pack("<HHI", tag, kind, count) + (offset if value is None else value)
    return content + bytes(4) + extra


def turned_by(orientation: int) -> tuple[int, int, int, bytes]:
    return (0x0112, 3, 1, struct.pack("<HH", orientation, 0))


def jpeg(pixels: np.ndarray, **options) -> bytes:
    return encoded(pixels, "JPEG", quality=95, subsampling=0, **options)


def is_like(pixels: np.ndarray, expected: np.ndarray, most: float = 3) -> bool:
    """Whether decoded pixels [h, w, 1 or 3] equal these [h, w], except for compression."""
    assert pixels.shape[:2] == expected.shape
    return float(np.abs(pixels.astype(float) - expected[:, :, np.newaxis]).mean()) < most


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda image: image),
        (2, np.fliplr),
        (3, lambda image: np.rot90(image, 2)),
        (4, np.flipud),
        (5, np.transpose),
        (6, lambda image: np.rot90(image, -1)),
        (7, lambda image: np.rot90(image, 2).T),
        (8, np.rot90),
        (9, lambda image: image),
    ],
)
def test_each_orientation(orientation, upright):
    pixels = seven()[:, :56]
    decoded = decode_image(jpeg(pixels, exif=exif(turned_by(orientation))))
    assert is_like(decoded, upright(pixels))


@pytest.mark.parametrize(
    "block",
    {
        "resolution as signed -1/0": exif(
            turned_by(6), (0x011A, 10, 1, None), extra=struct.pack("<ii", -1, 0)
        ),
        "resolution as text": exif(turned_by(6), (0x011A, 2, 4, b"72\0\0")),
        "width as text": exif(turned_by(6), (0x0100, 2, 4, b"4032")),
        "place as text": exif(
            turned_by(6), (0x8825, 4, 1, None), extra=struct.pack("<HHHI", 1, 2, 2, 4) + b"52.5"
        ),
        "values beyond the end": exif(turned_by(6), (0x010F, 2, 99, b"\xff\xff\xff\x7f")),
        "cut off after the orientation": exif(turned_by(6))[:26] + b"\0",
    }.items(),
    ids=lambda item: item[0],
)
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_orientation_among_other_exif(block, format):
    decoded = decode_image(saved(Image.fromarray(np.rot90(seven())), format, exif=block[1]))
    assert is_like(decoded, seven(), 6)


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0no TIFF header",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        exif((0x0112, 2, 2, b"6\0\0\0")),
        exif((0x0112, 4, 1, struct.pack("<I", 6))),
        exif(turned_by(9)),
    ],
    ids=["not TIFF", "out of bounds", "a text", "a long", "9"],
)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_is_ignored(block, format):
    image = Image.fromarray(seven()).convert("RGB")
    assert is_like(decode_image(saved(image, format, exif=block)), seven(), 6)


def test_webp_and_xmp_orientation_are_ignored():
    image = Image.fromarray(seven()).convert("RGB")
    webp = saved(image, "WEBP", lossless=True, exif=exif(turned_by(6)))
    assert is_like(decode_image(webp), seven())
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'
    assert is_like(decode_image(saved(image, "JPEG", xmp=xmp)), seven())


def chunk(name: bytes, data: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(name + data) if crc is None else crc
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)


@pytest.mark.parametrize(
    "more",
    {
        "checksum of a text": chunk(b"tEXt", b"a\0b", crc=1),
        "eXIf of zeros": chunk(b"eXIf", bytes(8)),
        "text of 2 MB": chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2 * 2**20))),
        "profile of 2 MB": chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2 * 2**20))),
        "profile in a compression to come": chunk(b"iCCP", b"a\0\1profile"),
        "EXIF as text": chunk(b"tEXt", b"exif\0b'Exif\\x00\\x00MM'"),
        "bytes that are no text": chunk(b"iTXt", b"\xff" * 40),
    }.items(),
    ids=lambda item: item[0],
)
def test_damaged_metadata_of_a_png_is_ignored(more):
    data, turned = png(seven()), chunk(b"eXIf", exif(turned_by(3))[6:])
    for place in (33, len(data) - 12):  # before and after the pixels
        damaged = data[:place] + more[1] + data[place:]
        assert is_like(decode_image(damaged), seven())
    damaged = data[:33] + more[1] + turned + data[33:]
    assert is_like(decode_image(damaged), np.rot90(seven(), 2))


def test_png_without_last_chunk():
    data = png(seven())
    for cut in (12, 5):
        assert is_like(decode_image(data[:-cut]), seven())
    with pytest.raises(InvalidInputError, match="damaged, truncated or unusual PNG"):
        decode_image(data[:-60])


def test_jpeg_without_last_marker():
    noise = np.random.default_rng(0).integers(0, 256, (96, 96), np.uint8)
    whole = jpeg(noise)
    assert is_like(decode_image(whole[:-2]), decode_image(whole)[:, :, 0])
    progressive = jpeg(noise, progressive=True)
    for cut in (whole[:-400], whole[: len(whole) // 2], progressive[: len(progressive) // 2]):
        with pytest.raises(InvalidInputError, match="damaged, truncated or unusual JPEG"):
            decode_image(cut)


def test_bytes_after_an_image_are_ignored():
    for kind in ("JPEG", "PNG", "GIF", "BMP"):
        assert is_like(decode_image(encoded(seven(), kind) + b"a video" * 99), seven())


def bmp(alpha: int) -> bytes:
    """A bitmap with 32 bits per pixel and a header of version 5, as in clipboards."""
    rows = np.repeat(np.flipud(seven())[:, :, np.newaxis], 4, axis=2)
    rows[:, :, 3] = alpha
    pixels = rows.tobytes()
    head = struct.pack("<IiiHHIIiiII", 124, 64, 64, 1, 32, 3, len(pixels), 2835, 2835, 0, 0)
    head += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(64)
    size = 14 + len(head) + len(pixels)
    return b"BM" + struct.pack("<IHHI", size, 0, 0, 14 + len(head)) + head + pixels


def test_alpha_channel_of_zeros_is_ignored():
    for alpha in (0, 255):
        assert is_like(decode_image(bmp(alpha)), seven())


def ink_on_nothing(color: int) -> np.ndarray:
    """An RGBA image of a gray seven with a transparent background."""
    pixels = np.full((64, 64, 4), color, np.uint8)
    pixels[:, :, 3] = 255 - seven()
    return pixels


def test_light_ink_is_laid_on_black():
    stray = ink_on_nothing(255)
    stray[60, 60] = (0, 0, 0, 255)
    soft = np.array(Image.fromarray(ink_on_nothing(255)).resize((90, 90)))
    soft[(soft[:, :, 3] > 0) & (soft[:, :, 3] < 128), :3] = 0
    zeros = np.zeros((8, 8, 4), np.uint8)
    zeros[2:6, 3:5] = 255
    for pixels in (ink_on_nothing(255), ink_on_nothing(220), stray, soft, zeros):
        decoded = decode_image(png(pixels))
        ink = decoded[pixels[:, :, 3] > 200]
        assert decoded[0, 0].tolist() == [0, 0, 0]
        assert np.median(ink) >= 220


def test_dark_ink_and_light_cards_are_laid_on_white():
    card = np.zeros((96, 96, 4), np.uint8)
    card[16:80, 16:80, :3] = seven()[:, :, np.newaxis]
    card[16:80, 16:80, 3] = 255
    rounded = np.dstack([np.repeat(seven()[:, :, np.newaxis], 3, axis=2), np.full((64, 64), 255)])
    rounded[0, 0, 3] = 0
    for pixels in (ink_on_nothing(0), ink_on_nothing(90), card, rounded.astype(np.uint8)):
        decoded = decode_image(png(pixels))
        assert decoded[0, 0].tolist() == [255, 255, 255]
        assert decoded.min() < 100


def test_transparency_by_palette_and_by_color():
    image = Image.fromarray(np.where(seven() < 128, 0, 1).astype(np.uint8), "P")
    image.putpalette([10, 20, 30, 90, 0, 0])
    for data in (saved(image, transparency=1), saved(image, "GIF", transparency=1)):
        assert decode_image(data)[0, 0].tolist() == [255, 255, 255]
        assert decode_image(data)[9, 9].tolist() == [10, 20, 30]
    grey = saved(Image.fromarray(seven() // 2), transparency=127)
    assert decode_image(grey)[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, 100.4, 200]], np.float32), [0, 100, 200]),
        (np.array([[0, 25700, 65535]], np.float32), [0, 100, 255]),
        (np.array([[np.nan, -3, 0.2]], np.float32), [0, 0, 51]),
        (np.array([[0, 100, 255]], np.int32), [0, 100, 255]),
        (np.array([[0, 50_000, 100_000]], np.int32), [0, 128, 255]),
        (np.array([[0, 25700, 65535]], np.uint16), [0, 100, 255]),
    ],
)
def test_floats_and_wide_integers_fill_the_range(values, expected):
    data = saved(Image.fromarray(values), "TIFF")
    assert decode_image(data)[0, :, 0].tolist() == expected


def test_cmyk_of_a_jpeg_is_inverted_as_adobe_writes_it():
    color = np.zeros((32, 32, 3), np.uint8)
    color[:, 16:] = (250, 120, 20)
    data = saved(Image.fromarray(color).convert("CMYK"), "JPEG", quality=95, subsampling=0)
    assert np.abs(decode_image(data).astype(int) - color).mean() < 4


def heic(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=-1, chroma=444, **options)
    return buffer.getvalue()


def test_heic_and_avif():
    image = Image.fromarray(seven()).convert("RGB")
    assert is_like(decode_image(heic(image)), seven())
    assert is_like(decode_image(saved(image, "AVIF", quality=90)), seven())
    # AVIF has its orientation in the container.
    avif = saved(image.transpose(Image.Transpose.ROTATE_90), "AVIF", exif=exif(turned_by(6)))
    assert is_like(decode_image(avif), seven(), 6)


def test_size_in_the_stream_of_an_avif_is_checked():
    data = saved(Image.new("L", (600, 500)), "AVIF", speed=10)
    sizes = struct.pack(">II", 600, 500)
    assert data.count(sizes) == 1
    for claimed in ((600, 500), (64, 64)):
        with pytest.raises(TooLargeError, match="600 x 500"):
            decode_image(data.replace(sizes, struct.pack(">II", *claimed)), max_pixels=449_999)
    assert decode_image(data, max_pixels=450_000).shape == (500, 600, 1)


def test_damaged_exif_in_an_avif_is_ignored():
    data = saved(
        Image.fromarray(seven()), "AVIF", quality=90, exif=exif((0x010F, 2, 2, b"a\0\0\0"))
    )
    damaged = data.replace(b"II*\0\x08\0", b"........"[:6])
    assert damaged != data
    assert is_like(decode_image(damaged), seven())


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF"])
def test_first_frame_of_an_animation(format):
    first, *more = (Image.fromarray(each).convert("RGB") for each in (seven(), 255 - seven()))
    assert is_like(decode_image(saved(first, format, save_all=True, append_images=more)), seven())


def test_nothing_is_around_a_first_frame_that_is_smaller_than_its_gif():
    data = encoded(np.zeros((4, 4), np.uint8), "GIF")
    decoded = decode_image(data[:6] + struct.pack("<HH", 6, 5) + data[10:])[..., 0]
    np.testing.assert_array_equal(
        decoded, np.pad(np.zeros((4, 4)), ((0, 1), (0, 2)), constant_values=255)
    )


def test_default_image_of_an_animated_png_is_ignored():
    other, *frames = (Image.fromarray(each) for each in (255 - seven(), seven(), 255 - seven()))
    data = saved(other, save_all=True, append_images=frames, default_image=True)
    assert is_like(decode_image(data), seven())


def test_icons():
    data = saved(Image.fromarray(seven()).convert("RGB"), "ICO", sizes=[(16, 16), (64, 64)])
    assert is_like(decode_image(data), seven())
    bitmap = saved(Image.fromarray(seven()).convert("RGB"), "ICO", bitmap_format="bmp")
    assert is_like(decode_image(bitmap[:2] + b"\2" + bitmap[3:]), seven())  # a pointer
    with pytest.raises(TooLargeError, match="9000 x 9000"):
        decode_image(data.replace(struct.pack(">II", 64, 64), struct.pack(">II", 9000, 9000)))


def photo(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def test_small_photos_are_not_scaled():
    image = photo(2048, 2048)
    assert image.width * image.height == WORKING_PIXELS
    data = saved(image, "JPEG")
    np.testing.assert_array_equal(decode_image(data), np.asarray(Image.open(io.BytesIO(data))))


def test_large_photos_are_scaled_down_in_every_format():
    image = photo(3001, 2301)
    expected = np.asarray(image.reduce(2), dtype=int)
    turned = saved(image, "JPEG", quality=90, exif=exif(turned_by(6)))
    decoded = {
        "JPEG": decode_image(saved(image, "JPEG", quality=90)),
        "turned": np.rot90(decode_image(turned)),
        "BMP": decode_image(saved(image, "BMP")),
        "RGBA": decode_image(saved(image.convert("RGBA"), "TIFF")),
    }
    for kind, pixels in decoded.items():
        assert pixels.shape == (1151, 1501, 3), kind
        assert np.abs(pixels - expected).mean() < 1.5, kind


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "CMYK", "I;16", "I", "F"])
def test_large_images_of_every_mode_are_scaled_down(mode):
    image = photo(2100, 2050).convert("L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image, np.uint16) * 257)
    elif mode in ("I", "F"):
        image = Image.fromarray(np.asarray(image, np.int32 if mode == "I" else np.float32))
    else:
        image = image.convert(mode)
    data = saved(image, "TIFF")
    decoded = decode_image(data)
    assert decoded.shape[:2] == (1025, 1050)
    expected = np.asarray(photo(2100, 2050).convert("L").reduce(2))
    assert is_like(decoded.mean(axis=2, keepdims=True), expected, 45 if mode == "1" else 2)


def test_webp_may_have_a_third_of_the_pixels():
    data = encoded(np.zeros((10, 10), np.uint8), "WEBP")
    assert decode_image(data, max_pixels=300).shape == (10, 10, 3)
    with pytest.raises(TooLargeError, match="at most 99 pixels, got 10 x 10"):
        decode_image(data, max_pixels=299)


def test_jpegs_of_many_scans_are_rejected():
    whole = jpeg(seven(), progressive=True)
    last = whole.rindex(b"\xff\xda")
    data = whole[:-2] + whole[last:-2] * 200 + b"\xff\xd9"
    with pytest.raises(InvalidInputError, match="at most 100 scans"):
        decode_image(data)


def test_large_progressive_jpegs_may_have_fewer_scans():
    data = jpeg(seven(), progressive=True)
    last = data.rindex(b"\xff\xda")
    many = data[:-2] + data[last:-2] * 12 + b"\xff\xd9"
    decode_image(data, max_pixels=64 * 64)
    decode_image(many, max_pixels=2 * 64 * 64)
    with pytest.raises(InvalidInputError, match="at most 12 scans"):
        decode_image(many, max_pixels=64 * 64)


def test_compressed_texts_of_a_png_are_not_decompressed():
    texts = [chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**20 - 9))) for _ in range(20)]
    whole = png(seven())
    data = whole[:33] + b"".join(texts) + whole[33:]
    tracemalloc.start()
    decoded = decode_image(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.array_equal(decoded, decode_image(whole))
    assert peak < 2_000_000


def test_pngs_of_very_many_chunks_are_rejected():
    whole = png(seven())
    with pytest.raises(InvalidInputError, match="a damaged, truncated or unusual PNG"):
        decode_image(whole[:33] + chunk(b"abCd", b"") * 60_000 + whole[33:])
    assert np.array_equal(decode_image(whole + bytes(1_000_000)), decode_image(whole))


@pytest.mark.parametrize("segment", [b"\xff\xe1\0\x02", b"\xff"])
def test_jpegs_of_very_many_segments_are_rejected(segment):
    whole = jpeg(seven())
    with pytest.raises(InvalidInputError, match="a damaged, truncated or unusual JPEG"):
        decode_image(whole[:2] + segment * 60_000 + whole[2:])
    assert decode_image(whole[:2] + segment * 60 + whole[2:]).shape == (64, 64, 1)


def test_large_run_length_encoded_bmps_are_rejected():
    data = bytearray(encoded(seven(), "BMP")) + bytes(2**20)
    data[30] = 1
    with pytest.raises(InvalidInputError, match="at most 1,048,576 bytes"):
        decode_image(bytes(data))


def test_gifs_of_very_many_comments_are_rejected():
    whole = encoded(seven(), "GIF")
    palette = 13 + 3 * 2 ** ((whole[10] & 7) + 1)
    with pytest.raises(InvalidInputError, match="a damaged, truncated or unusual GIF"):
        decode_image(whole[:palette] + b"!\xfe\x01x\0" * 60_000 + whole[palette:])


def test_the_tiles_of_a_tiff_count():
    # A tile may be much larger than the image.
    tags = {
        256: 16,
        257: 16,
        258: 8,
        259: 8,
        262: 1,
        277: 1,
        322: 20_000,
        323: 20_000,
        324: 0,
        325: 9,
    }
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()]
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(entries) + bytes(4)
    with pytest.raises(TooLargeError, match="20000 x 20000"):
        decode_image(data)


@pytest.mark.parametrize("is_big", [False, True])
def test_tiffs_of_very_many_strips_are_rejected(is_big):
    head, entry = (b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 1), "<HHQQ")
    if not is_big:
        head, entry = (b"II*\0" + struct.pack("<IH", 8, 1), "<HHII")
    data = head + struct.pack(entry, 273, 4, 300_000, 50) + bytes(1_300_000)
    with pytest.raises(InvalidInputError, match="200,000 values in its tags"):
        decode_image(data)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_memory_is_reserved_before_a_larger_image_is_decoded(format):
    sizes: list[int] = []
    small, large = (saved(Image.new("RGB", (side, side)), format) for side in (60, 2000))
    decode_image(small, reserve=sizes.append)
    assert not sizes
    decode_image(large, reserve=sizes.append)
    assert 100 * 2**20 < sizes[0] < 200 * 2**20

    def refuse(size: int) -> None:
        raise TimeoutError(size)

    # It is not mistaken for damage.
    with pytest.raises(TimeoutError):
        decode_image(large, reserve=refuse)


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (b'<?xml version="1.0"?>\n<svg xmlns=""/>', "an SVG drawing; export it as PNG"),
        (b"\xef\xbb\xbf<SVG></SVG>", "an SVG drawing"),
        (b"%PDF-1.7", "a PDF document; export it as PNG or JPEG"),
        (b"<!doctype html><p>Sign in", "an HTML or XML document"),
        (b"data:image/png;base64,iVBORw0KGgo", "an image as base64 text"),
        (b"/9j/4AAQSkZJRg", "an image as base64 text"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2", "an MP4 or QuickTime video"),
        (b"\xff\x0a\xfa\x7f", "a JPEG XL image"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image; export it as PNG or JPEG"),
        (b"P5,3", "text that starts with “P5,3”"),
        (b"P3\n2 2\n255\n", "a Netpbm bitmap or text file; export it as PNG or JPEG"),
        (b"\x1f\x8b\x08\0", "gzip data; unpack it, or send it with Content-Encoding: gzip"),
        # curl -d removes line ends and zero bytes.
        (
            b"\x89PNG\x1aIHDR",
            "a PNG damaged in transit; send its bytes unchanged, as curl --data-binary",
        ),
        (png(seven()).decode(errors="replace").encode(), "a PNG or JPEG damaged in transit"),
        (png(seven()).decode("latin-1").encode(), "a PNG or JPEG damaged in transit"),
        (encoded(seven(), "JPEG").decode(errors="replace").encode(), "a PNG or JPEG damaged"),
        (encoded(seven(), "JPEG").decode("latin-1").encode(), "a PNG or JPEG damaged in transit"),
        (b"--x\r\nContent-Disposition: form-data; name=a", "a form; let the HTTP library write"),
        (b"\xef\xbb\xbf" + png(seven()), "a PNG or JPEG damaged in transit"),
        (bytes(99), "99 bytes that start with 00 00"),
        (b"hello", "text that starts with “hello”"),
        ("größer\nals".encode(), "text that starts with “größer”"),
        (b"\xef\xbb\xbfa,b\r\n1,2\r\n", "text that starts with “a,b”"),
        ("ä".encode() * 800, f"text that starts with “{'ä' * 40}”"),
        (b" \n", "blank text (2 bytes)"),
        (b"\xff\xfe\xfd\xfc", "4 bytes that start with ff fe fd fc"),
        (b"\x93NUMPY\1\0", "8 bytes that start with 93 4e 55 4d 50 59 01 00"),
    ],
)
def test_other_files_are_named_in_the_error(data, got):
    expected = (
        "expected an image (PNG, JPEG, WebP, GIF, BMP, TIFF, ICO, AVIF, HEIC, PGM or PPM), got "
    )
    with pytest.raises(InvalidInputError, match=re.escape(expected + got)):
        decode_image(data)


def test_heic_without_its_library(monkeypatch):
    data = heic(Image.new("RGB", (16, 16)))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InvalidInputError, match=r"pillow-heif is not installed; save it as JPEG"):
        decode_image(data)


def tiff(pixels: np.ndarray, sample_format: int, channels: int = 1, *more: tuple) -> bytes:
    """A TIFF of samples in NumPy's type; Pillow cannot write all of them."""
    data, (height, width) = pixels.tobytes(), pixels.shape
    width //= channels
    order = ">" if pixels.dtype.str.startswith(">") else "<"
    bits = 8 * pixels.dtype.itemsize
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8)]
    tags += [(277, channels)]
    tags += [(278, height), (279, len(data)), *more, (339, sample_format)]
    entries = [struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0) for tag, value in tags]
    head = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(f"{order}I", 8 + len(data))
    return head + data + struct.pack(f"{order}H", len(tags)) + b"".join(entries) + bytes(4)


@pytest.mark.parametrize(
    ("dtype", "sample_format", "top"),
    [("u1", 1, 255), ("<u2", 1, 65535), (">u2", 1, 65535), ("<f4", 3, 1.0)],
)
def test_tiffs_of_several_sample_formats(dtype, sample_format, top):
    data = tiff((np.array([[0, top]])).astype(dtype), sample_format)
    assert decode_image(data)[..., 0].tolist() == [[0, 255]]


@pytest.mark.parametrize(
    ("dtype", "sample_format", "name"),
    [
        ("<f8", 3, "64-bit float"),
        (">f8", 3, "64-bit float"),
        ("<f2", 3, "16-bit float"),
        ("<u8", 1, "64-bit integer"),
        ("<c8", 6, "64-bit complex float"),
        ("V3", 1, "24-bit integer"),
    ],
)
def test_the_error_for_a_tiff_of_unsupported_samples_names_them(dtype, sample_format, name):
    data = tiff(np.zeros((2, 3), dtype), sample_format)
    with pytest.raises(InvalidInputError) as caught:
        decode_image(data)
    assert caught.value.expected.startswith(
        "a TIFF of 8-bit or 16-bit samples, or of one channel of"
    )
    assert caught.value.got == f"one of {name}"


@pytest.mark.parametrize(
    ("dtype", "sample_format", "more", "name"),
    [
        ("<f4", 3, [], "3 channels of 32-bit float; convert"),
        # Pillow would decode their first bytes.
        ("<u2", 1, [(284, 2)], "3 planes of 16-bit integer, not compressed; convert"),
    ],
)
def test_the_error_for_a_tiff_of_several_channels_names_them(dtype, sample_format, more, name):
    with pytest.raises(InvalidInputError, match=f"got one of {name}"):
        decode_image(tiff(np.zeros((2, 6), dtype), sample_format, 3, *more))


def test_a_gray_tiff_of_premultiplied_alpha():
    gray_and_alpha = np.array([[100, 255, 0, 0, 50, 100]], np.uint8)
    decoded = decode_image(tiff(gray_and_alpha, 1, 2, (338, 1)))
    assert decoded[..., 0].tolist() == [[100, 255, 205]]


def test_a_truncated_tiff_is_damaged():
    data = tiff(np.zeros((2, 3), np.uint8), 1)
    for end in (9, 40, len(data) - 60):
        with pytest.raises(InvalidInputError, match="a damaged, truncated or unusual TIFF"):
            decode_image(data[:end])
