"""Decodes image files to the pixels that a browser shows; checks the size before decoding.

Training and serving share this function, so a photo has the same pixels in both.
"""

import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from rockstar_contract.avif import coded_sizes
from rockstar_contract.csv_rows import SAVE_AS_CSV, spreadsheet_name
from rockstar_contract.errors import InvalidInputError, TooLargeError
from rockstar_contract.limits import DEFAULT_MAX_PIXELS

# By _kind(). Their file names are in limits.py, their media types in gateway/openapi.json.
FORMATS = "PNG, JPEG, WebP, GIF, BMP, TIFF, ICO, AVIF, HEIC, PGM or PPM"
# Larger images are halved in width and height until they fit. Models take far fewer pixels, and the
# steps after decoding need about 28 bytes for each.
WORKING_PIXELS = 4 * 2**20

_PNG = b"\x89PNG\r\n\x1a\n"
_SIGNATURES = (
    (_PNG, "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\1\0", "ICO"),
    (b"\0\0\2\0", "CUR"),
    *((b"P%d%c" % (digit, space), "PPM") for digit in (5, 6) for space in b"\n\r\t "),
)
_EXPORT = "export it as PNG or JPEG"
_UNCHANGED = "send its bytes unchanged, as curl --data-binary does"
_OTHER_FILES = (
    (b"%PDF", "a PDF document", _EXPORT),
    (b"%!PS", "a PostScript document", _EXPORT),
    (b"8BPS", "a Photoshop document", _EXPORT),
    (b"\xff\x0a", "a JPEG XL image", _EXPORT),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image", _EXPORT),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image", _EXPORT),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image", _EXPORT),
    (b"v/1\x01", "an OpenEXR image", _EXPORT),
    *((b"P%d" % digit, "a Netpbm bitmap or text file", _EXPORT) for digit in range(1, 5)),
    (b"PK\3\4", "a ZIP archive", "send the images themselves, as files of one form"),
    (b"\x1f\x8b", "gzip data", "unpack it, or send it with Content-Encoding: gzip"),
    (b"version https://git-lfs", "a pointer of Git LFS instead of the file", "run git lfs pull"),
    (b"\x89PNG", "a PNG damaged in transit", _UNCHANGED),
)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
_AVIF_BRANDS = (b"avif", b"avis")
_MAX_JPEG_SCANS = 100
# Each scan of a progressive JPEG decodes all pixels again; photos have about 10.
_SCANS_OF_LARGEST = 12
# Formats whose decoders need several times the memory of others: what an image counts.
_HEAVY = {"WEBP": 3.0, "AVIF": 1.5}
# Bytes for each pixel while an image is decoded, and for each of the steps after it.
_DECODING, _WORKING = 6, 28
# Images up to this size are decoded and preprocessed in a moment, without reserving memory.
SMALL_PIXELS = 2**12
# Chunks of a PNG with metadata that is not used; some of it is compressed, a thousandfold at best.
_UNUSED_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
# Those that matter for what is seen, besides the pixels and the palette.
_OPTIONAL_CHUNKS = (b"tRNS", b"eXIf", b"gAMA", b"sRGB")
# Far more chunks, segments or comments than files have. A small PNG has no room for much metadata.
_MAX_CHUNKS = 20_000
_PLAIN_PNG = 1024
# Of TIFF: values of all tags, without texts and bytes, which stay as they are.
_MAX_TAG_VALUES = 200_000
_PLAIN_TYPES = (1, 2, 7)
_MAX_ICONS = 256
# Compressions of BMP that Pillow decodes in Python, which takes a second for each megabyte.
_RUN_LENGTHS, _MAX_RUN_LENGTHS = (b"\1\0\0\0", b"\2\0\0\0"), 2**20
# Of TIFF: width and height of tiles.
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_ENTROPY_CODED_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# Of TIFF: the type of 16-bit values, tags, and sample formats besides integers.
_SHORT = 3
_BITS_PER_SAMPLE, _COMPRESSION, _SAMPLES_PER_PIXEL = 258, 259, 277
_PLANES, _SAMPLE_FORMAT = 284, 339
_OTHER_SAMPLES = {3: "float", 5: "complex integer", 6: "complex float"}
# Bits of integers that Pillow reads, alone and in several channels.
_BITS, _BITS_OF_CHANNELS = (1, 2, 4, 8, 12, 16, 32), (8, 16)
# Without WebP, which browsers do not rotate, and TIFF, which Pillow rotates.
_ROTATED_BY_EXIF = ("JPEG", "MPO", "PNG", "AVIF")
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class _RefusedError(Exception):
    """The caller's `reserve` raised an error, so the image need not be damaged."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def decode_image(
    data: bytes,
    field: str = "image",
    max_pixels: int = DEFAULT_MAX_PIXELS,
    reserve: Callable[[int], None] | None = None,
) -> NDArray[np.uint8]:
    """Decode an image and rotate it by its EXIF orientation.

    Images of more than WORKING_PIXELS are scaled down by a power of two; JPEGs while they are
    decoded, so that a photo of 48 megapixels takes no more memory than a small one.

    Args:
        data: a whole file in one of FORMATS; of an animation, the first frame is used.
        field: name of the image in errors.
        max_pixels: largest width x height in the header that is decoded; a third of it for WebP,
            two thirds for AVIF.
        reserve: called before a larger image is decoded, with the bytes that decoding and
            preprocessing take; it may wait, or raise an error of the caller's.

    Returns:
        uint8 [h, w, 1] for a gray image, [h, w, 3] for color. Transparent images are laid on
            white, or on black if their ink is light.

    Raises:
        InvalidInputError: empty, not an image, truncated or damaged.
        TooLargeError: its header declares more than max_pixels.
    """
    if not data:
        raise InvalidInputError(
            field, expected="an image", got="an empty file (0 bytes)", hint="send the file's bytes"
        )
    kind = _kind(data)
    if not kind:
        raise _not_an_image(data, field)
    try:
        return _decode(data, kind, field, max_pixels, reserve)
    except InvalidInputError:
        raise
    except _RefusedError as refused:
        raise refused.error from None
    except Exception as error:
        # Pillow's decoders raise all kinds of exceptions for damaged files.
        try:
            repaired = _repair(data, kind)
            return _decode(repaired, kind, field, max_pixels, reserve, repaired=True)
        except InvalidInputError:
            raise
        except _RefusedError as refused:
            raise refused.error from None
        except Exception:  # as above
            raise InvalidInputError(
                field,
                expected="a whole image",
                got=f"a damaged, truncated or unusual {kind} ({len(data):,} bytes)",
                hint="check that the upload is complete, or save it again as PNG or JPEG",
            ) from error


def to_pillow(pixels: NDArray[np.uint8]) -> Image.Image:
    """Pillow's image of pixels, uint8 [h, w, 1 or 3]."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode pixels, uint8 [h, w, 1 or 3], as a PNG file."""
    stream = io.BytesIO()
    to_pillow(pixels).save(stream, "PNG")
    return stream.getvalue()


def to_levels(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Convert numbers from `low` to `high` to 0…255; others are clipped."""
    levels: NDArray[np.uint8] = np.round(np.clip((values - low) / (high - low), 0, 1) * 255).astype(
        np.uint8
    )
    return levels


def ignore_warnings() -> None:
    """Disable Pillow's warnings in this process.

    Pillow warns of large sizes, which this module checks, and of damaged metadata that is not used.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _kind(data: bytes) -> str:
    """Pillow's name of the format, by the first bytes; empty if it is none of FORMATS."""
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        # The major brand may be a general one, such as mif1; the compatible brands follow it.
        brands = {data[at : at + 4] for at in range(8, min(data[3], 128), 4)}
        if brands.intersection(_AVIF_BRANDS):
            return "AVIF"
        if brands.intersection(_HEIF_BRANDS):
            return "HEIF"
    return ""


def _not_an_image(data: bytes, field: str) -> InvalidInputError:
    """The error that says what was received instead of an image."""
    start = data[:1024].removeprefix(b"\xef\xbb\xbf").lstrip()
    known = ((name, hint) for signature, name, hint in _OTHER_FILES if data.startswith(signature))
    found, hint = next(known, ("", ""))
    if spreadsheet := spreadsheet_name(data):
        found, hint = spreadsheet, SAVE_AS_CSV
    elif found:
        pass
    elif b"PNG\r\n" in data[:16] or b"JFIF" in data[:24]:
        # Often decoded as UTF-8 or Latin-1 and encoded again, or after a byte order mark.
        found, hint = "a PNG or JPEG damaged in transit", _UNCHANGED
    elif data[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free"):
        found = "an MP4 or QuickTime video"
    elif start.startswith(b"--") and b"content-disposition: form-data" in start.lower():
        found, hint = "a form", "let the HTTP library write the header Content-Type"
    elif b"<svg" in start.lower():
        found, hint = "an SVG drawing", "export it as PNG"
    elif start.startswith(b"<"):
        found, hint = "an HTML or XML document", "send the image file itself"
    elif start.startswith((b"data:image", b"iVBORw0KGgo", b"/9j/")):
        found = "an image as base64 text"
        hint = 'send the file\'s bytes, or JSON: {"instances": [{"b64": text}]}'
    elif not start:
        found = f"blank text ({len(data):,} bytes)"
    else:
        # Ignores a character that the limit cuts in half.
        line = start.decode("utf-8", "ignore").partition("\n")[0].strip()[:40]
        if line and line.isprintable() and start.startswith(line.encode()):
            found = f"text that starts with “{line}”"
    return InvalidInputError(
        field,
        expected=f"an image ({FORMATS})",
        got=found or f"{len(data):,} bytes that start with {data[:8].hex(' ')}",
        hint=hint,
    )


def _decode(
    data: bytes,
    kind: str,
    field: str,
    max_pixels: int,
    reserve: Callable[[int], None] | None,
    *,
    repaired: bool = False,
) -> NDArray[np.uint8]:
    """Decode an image; damage raises any exception of Pillow's."""
    max_pixels = int(max_pixels // _HEAVY.get(kind, 1))
    data = _prepared(data, kind, field, max_pixels)
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=(kind,))
    except Image.DecompressionBombError as error:
        got = "an image whose header declares a gigantic number of pixels"
        raise _too_large(field, max_pixels, got) from error
    width, height = image.size
    _require_size(width, height, field, max_pixels)
    if kind == "TIFF":
        _require_size(*_tile_size(image), field, max_pixels)
    factor = _factor(width, height)
    is_progressive = bool(image.info.get("progressive"))
    if kind == "JPEG":
        if is_progressive:
            most = _SCANS_OF_LARGEST * max_pixels // (width * height)
            _require_few_scans(data, field, min(most, _MAX_JPEG_SCANS))
        if factor > 1:
            image.draft(None, (width // factor, height // factor))
            factor = _factor(*image.size)
    if reserve is not None and width * height > SMALL_PIXELS:
        # Of a baseline JPEG only the reduced image is in memory.
        is_reduced = kind == "JPEG" and not is_progressive
        decoded = image.width * image.height if is_reduced else width * height
        size = int(_DECODING * decoded * _HEAVY.get(kind, 1))
        try:
            reserve(size + _WORKING * min(width * height, WORKING_PIXELS))
        except Exception as error:
            raise _RefusedError(error) from error
    if image.info.get("default_image"):
        # An APNG's first image is for programs without animations; browsers do not show it.
        image.seek(1)
    tiles = getattr(image, "tile", None) if kind in ("GIF", "PPM") else None
    frame = tiles[0].extents if tiles else None
    if kind == "PPM" and tiles and tiles[0].codec_name != "raw":
        raise ValueError("a maximum that Pillow scales to in a loop over the pixels")
    image.load()
    if kind == "JPEG" and repaired and _is_truncated(image):
        raise EOFError("no data for the last block")
    if frame not in (None, (0, 0, width, height)):
        # Around a smaller first frame browsers show nothing, and Pillow a color.
        shown = image.crop(frame).convert("RGBA")
        image = Image.new("RGBA", image.size)
        image.paste(shown, frame)
    exif = image.info.get("exif", b"") if image.format in _ROTATED_BY_EXIF else b""
    image = _plain(image) if factor == 1 else _reduce(image, factor)
    if image.mode in ("I", "F"):
        image = _eight_bit(image)
    elif image.mode == "RGBA":
        image = _remove_alpha(image)
    if exif and (transposition := _TRANSPOSITIONS.get(_orientation(exif))) is not None:
        image = image.transpose(transposition)
    pixels = np.frombuffer(image.tobytes(), np.uint8)
    return pixels.reshape(image.height, image.width, -1)


def _prepared(data: bytes, kind: str, field: str, max_pixels: int) -> bytes:
    """The part of a file that Pillow may open, within limits of what that costs.

    Raises:
        InvalidInputError: it takes too much, or the decoder is not installed.
        ValueError, IndexError, struct.error: damaged.
    """
    if kind == "HEIF":
        try:
            # Imported here because it loads 27 MB of libraries, which few services need.
            from pillow_heif import register_heif_opener
        except ImportError as error:
            raise InvalidInputError(
                field,
                expected="an image that this installation reads",
                got="a HEIC photo, and pillow-heif is not installed",
                hint="save it as JPEG, or install rockstartf[heif] where images are decoded",
            ) from error
        register_heif_opener(thumbnails=False)
    if kind == "PNG" and len(data) > _PLAIN_PNG:
        data = _used_chunks(data)
    if kind in ("ICO", "CUR"):
        for width, height in _icon_sizes(data):
            _require_size(width, height, field, max_pixels)
    if kind == "TIFF":
        _require_few_values(data, field)
        if samples := _unsupported_samples(data):
            raise InvalidInputError(
                field,
                expected="a TIFF of 8-bit or 16-bit samples, or of one channel of float32",
                got=f"one of {samples}",
                hint="convert it, or save it as PNG",
            )
    if kind == "JPEG":
        _require_few_segments(data)
    if kind == "BMP" and data[30:34] in _RUN_LENGTHS and len(data) > _MAX_RUN_LENGTHS:
        raise InvalidInputError(
            field,
            expected=f"a run-length encoded BMP of at most {_MAX_RUN_LENGTHS:,} bytes",
            got=f"{len(data):,} bytes",
            hint="save it as PNG",
        )
    if kind == "GIF" and data.count(b"!\xfe") > _MAX_CHUNKS:
        raise ValueError("too many comments")
    if kind == "AVIF":
        # Decode the still image, not the first frame of a track, whose size is unknown before.
        data = data[:8] + data[8:12].replace(b"avis", b"avif") + data[12:]
        for width, height in coded_sizes(data):
            _require_size(width, height, field, max_pixels)
    return data


def _factor(width: int, height: int) -> int:
    """The power of two by which width and height are divided to have WORKING_PIXELS at most."""
    factor = 1
    while -(-width // factor) * -(-height // factor) > WORKING_PIXELS:
        factor *= 2
    return factor


def _require_size(width: int, height: int, field: str, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise _too_large(field, max_pixels, f"{width} x {height}")


def _too_large(field: str, max_pixels: int, got: str) -> TooLargeError:
    expected, hint = f"at most {max_pixels:,} pixels", "scale the image down"
    return TooLargeError(field, expected=expected, got=got, hint=hint)


def _icon_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """The sizes of the images in an icon, from the images, because its directory may be wrong."""
    (icons,) = struct.unpack_from("<H", data, 4)
    if icons > _MAX_ICONS:
        raise ValueError("too many icons")
    for at in range(6, 6 + 16 * icons, 16):
        (start,) = struct.unpack_from("<I", data, at + 12)
        if data[start : start + 8] == _PNG:
            yield struct.unpack_from(">II", data, start + 16)
        else:
            yield struct.unpack_from("<II", data, start + 4)


def _require_few_segments(jpeg: bytes) -> None:
    """Limit the segments before the pixels of a JPEG, all of which Pillow keeps."""
    at = 2
    for _ in range(_MAX_CHUNKS):
        if jpeg[at : at + 1] != b"\xff" or jpeg[at + 1 : at + 2] in (b"\xda", b""):
            return
        # A marker may start with several bytes.
        is_fill = jpeg[at + 1] == 0xFF
        at += 1 if is_fill else 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    raise ValueError("too many segments")


def _require_few_scans(data: bytes, field: str, most: int) -> None:
    """Limit the scans of a progressive JPEG: each takes few bytes, but decodes all pixels."""
    at, scans = 2, 0
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xD9:
        scans += data[at + 1] == 0xDA
        if scans > most:
            expected = f"a JPEG of at most {most} scans"
            raise InvalidInputError(field, expected=expected, got="more", hint="save it again")
        marker, at = data[at + 1], at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA:
            found = _ENTROPY_CODED_END.search(data, at)
            at = found.start() if found else len(data)


def _require_few_values(tiff: bytes, field: str) -> None:
    """Limit the values of the tags, which become Python objects when the file is opened."""
    order, is_big = "<" if tiff.startswith(b"II") else ">", tiff[2:4] in (b"+\0", b"\0+")
    number, head, length = ("Q", 8, 20) if is_big else ("I", 2, 12)
    values = 0
    try:
        (start,) = struct.unpack_from(order + number, tiff, 8 if is_big else 4)
        (entries,) = struct.unpack_from(order + ("Q" if is_big else "H"), tiff, start)
        for at in range(start + head, start + head + length * entries, length):
            kind, count = struct.unpack_from(f"{order}H{number}", tiff, at + 2)
            values += 1 if kind in _PLAIN_TYPES else count
            if values > _MAX_TAG_VALUES:
                expected = f"a TIFF of at most {_MAX_TAG_VALUES:,} values in its tags"
                raise InvalidInputError(field, expected=expected, got="more", hint="save it again")
    except struct.error:
        pass  # truncated


def _tile_size(tiff: Image.Image) -> tuple[int, int]:
    """The size of the tiles of a TIFF, which is independent of its own; 0 without tiles."""
    tags = getattr(tiff, "tag_v2", {})
    return int(tags.get(_TILE_WIDTH, 0)), int(tags.get(_TILE_LENGTH, 0))


def _chunks(png: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The name, start and end of each chunk of a PNG before the last. Raises ValueError."""
    at = len(_PNG)
    for _ in range(_MAX_CHUNKS):
        if at + 8 > len(png) or png[at + 4 : at + 8] == b"IEND":
            return
        end = at + 12 + int.from_bytes(png[at : at + 4], "big")
        yield png[at + 4 : at + 8], at, end
        at = end
    raise ValueError("too many chunks")


def _used_chunks(png: bytes) -> bytes:
    """Drop the chunks whose content is not used, which may be large when decompressed."""
    kept, start = [], 0
    for name, at, end in _chunks(png):
        if name in _UNUSED_CHUNKS:
            kept.append(png[start:at])
            start = end
    return b"".join([*kept, png[start:]]) if kept else png


def _repair(data: bytes, kind: str) -> bytes:
    """Remove damage that viewers tolerate, else raise a ValueError."""
    if kind == "PNG":
        return _critical_chunks(data)
    if kind == "JPEG" and not data.endswith(b"\xff\xd9"):
        return data + b"\xff\xd9"
    if kind == "AVIF":
        # Changes the type of metadata that cannot be parsed, so that it is skipped.
        return data.replace(b"Exif", b"skip")
    raise ValueError("beyond repair")


def _critical_chunks(png: bytes) -> bytes:
    """Keep the chunks for pixels and orientation; drop texts, profiles and wrong checksums."""
    kept = [_PNG]
    for name, at, end in _chunks(png):
        chunk = png[at:end]
        if name in (b"IDAT", b"IHDR", b"PLTE"):
            if len(chunk) < end - at:
                raise ValueError("cut off")
            kept.append(chunk)
        elif name in _OPTIONAL_CHUNKS and chunk[-4:] == zlib.crc32(chunk[4:-4]).to_bytes(4, "big"):
            kept.append(chunk)
    return b"".join([*kept, b"\0\0\0\0IEND\xaeB`\x82"])


def _is_truncated(image: Image.Image) -> bool:
    """Whether the data of a JPEG ended before its last block, which is then gray."""
    if image.info.get("progressive"):
        # Each scan covers all blocks, so a truncated image cannot be detected.
        return True
    last = image.crop((image.width - 1, image.height - 1, image.width, image.height))
    return bool(np.abs(np.asarray(last, dtype=np.int16) - 128).max() <= 1)


def _orientation(exif: bytes) -> int:
    """The orientation in EXIF; 1 (upright) if it is absent, damaged or of another type.

    Pillow's reader raises errors for damaged EXIF and accepts types that browsers do not.
    """
    entries = _shorts(exif.removeprefix(b"Exif\0\0"))
    wanted = (ExifTags.Base.Orientation, 1)
    return next((value for tag, count, value in entries if (tag, count) == wanted), 1)


def _shorts(tiff: bytes) -> Iterator[tuple[int, int, int]]:
    """The tag, count and first value of each 16-bit entry in a TIFF; none if it is damaged."""
    order: Literal["little", "big"] = "little" if tiff.startswith(b"II*\0") else "big"
    sign = "<" if order == "little" else ">"
    if not tiff.startswith((b"II*\0", b"MM\0*")):
        return
    try:
        (start,) = struct.unpack_from(f"{sign}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{sign}H", tiff, start)
        for at in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind, count = struct.unpack_from(f"{sign}HHI", tiff, at)
            if kind == _SHORT:
                # Up to two values are in the place of their offset.
                place = at + 8
                if count > 2:
                    (place,) = struct.unpack_from(f"{sign}I", tiff, place)
                yield tag, count, int.from_bytes(tiff[place : place + 2], order)
    except struct.error:
        pass  # truncated


def _unsupported_samples(tiff: bytes) -> str:
    """The samples of a TIFF, such as "64-bit float", if Pillow cannot read them; else empty."""
    values = {tag: value for tag, _, value in _shorts(tiff)}
    bits, samples = values.get(_BITS_PER_SAMPLE, 1), values.get(_SAMPLES_PER_PIXEL, 1)
    kind = values.get(_SAMPLE_FORMAT, 1)
    name = f"{bits}-bit {_OTHER_SAMPLES.get(kind, 'integer')}"
    if samples == 1:
        is_float = kind == 3 and bits == 32
        return "" if is_float or (kind not in _OTHER_SAMPLES and bits in _BITS) else name
    if values.get(_PLANES) == 2 and bits == 16 and values.get(_COMPRESSION) == 1:
        return f"{samples} planes of {name}, not compressed"  # Pillow takes the bytes for 8-bit
    is_read = kind not in _OTHER_SAMPLES and bits in _BITS_OF_CHANNELS
    return "" if is_read else f"{samples} channels of {name}"


def _plain(image: Image.Image) -> Image.Image:
    """Convert to one of the modes L, RGB, RGBA, I and F."""
    mode = image.mode
    if mode.startswith("I;16"):
        return image.convert("I")
    if mode in ("I", "F"):
        return image
    if mode == "La":
        return image.convert("LA").convert("RGBA")
    if image.has_transparency_data:
        return image if mode == "RGBA" else image.convert("RGBA")
    if mode in ("L", "RGB"):
        return image
    return image.convert("L" if mode == "1" else "RGB")


def _reduce(image: Image.Image, factor: int) -> Image.Image:
    """Scale down `_plain(image)` in bands, so that only the decoded image is large."""
    width, height = image.size
    mode = _plain(image.crop((0, 0, 1, 1))).mode
    small = Image.new(mode, (-(-width // factor), -(-height // factor)))
    for top in range(0, height, 64 * factor):
        bottom = min(top + 64 * factor, height)
        band = _plain(image.crop((0, top, width, bottom)))
        small.paste(band.reduce(factor), (0, top // factor))
    return small


def _eight_bit(image: Image.Image) -> Image.Image:
    """Convert 16-bit integers, or floats from 0 to 1 or in the range of integers, to mode L."""
    values = np.array(image, dtype=np.float32)
    # Of a 16-bit PNG: the value that is transparent, and laid on white.
    clear = values == image.info.get("transparency")
    values[~np.isfinite(values)] = 0
    highest = float(values.max(initial=0))
    ranges = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    top = next((top for top in ranges if highest <= top), highest)
    values *= np.float32(255 / top)
    np.clip(values, 0, 255, out=values)
    values[clear] = 255
    return Image.fromarray(values.round(out=values).astype(np.uint8))


def _remove_alpha(image: Image.Image) -> Image.Image:
    """Lay an RGBA image on white as browsers do, or on black if its ink is light."""
    alpha = image.getchannel("A")
    lowest, highest = alpha.getextrema()
    if lowest == 255 or highest == 0:
        # Programs that do not use the alpha channel may fill it with zeros.
        return image.convert("RGB")
    white = _lay_on("white", image)
    seen, opacity = np.asarray(white.convert("L")), np.asarray(alpha)
    if seen.min() > 239:
        # Invisible on white.
        return _lay_on("black", image)
    ink = opacity >= 128
    # The brightness of the ink, without the white that shows through.
    brightness = 255 * (1 - (255 - seen.mean()) / opacity.mean())
    # A few dark pixels may be fringes of smoothed edges; a white card with writing on it has more.
    few_dark = (seen < 128).sum() <= 0.02 * ink.sum()
    light_ink = ink.mean() < 0.5 and brightness > 191 and few_dark
    return _lay_on("black", image) if light_ink else white


def _lay_on(color: str, image: Image.Image) -> Image.Image:
    ground = Image.new("RGBA", image.size, color)
    return Image.alpha_composite(ground, image).convert("RGB")
