"""Encoded images to pixels, with the size refused before anything is decoded."""

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from serving.errors import InvalidInputError, TooLargeError
from serving.limits import DEFAULT_MAX_PIXELS

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
_NEARLY_WHITE = 239


def decode_image(
    data: bytes, field: str = "image", max_pixels: int = DEFAULT_MAX_PIXELS
) -> NDArray[np.uint8]:
    """The pixels of an encoded image, upright as its EXIF orientation says.

    Args:
        data: a whole file in one of FORMATS; of an animation the first frame counts.
        field: what errors call it.
        max_pixels: largest width x height that is decoded.

    Returns:
        uint8 [h, w, 1] for a grey image, [h, w, 3] for colour; transparency is laid on white,
            or on black where nothing would be seen on white.

    Raises:
        InvalidInputError: empty, not an image, cut off or damaged.
        TooLargeError: its header declares more than max_pixels.
    """
    if not data:
        raise InvalidInputError(
            field, expected="an image", got="0 bytes", hint="send the file's bytes"
        )
    image = _open(data, field)
    if image.width * image.height > max_pixels:
        raise TooLargeError(
            field,
            expected=f"at most {max_pixels:,} pixels",
            got=f"{image.width} x {image.height}",
            hint="scale the image down",
        )
    pixels = _pixels(image, field, len(data))
    return pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis]


def ignore_warnings() -> None:
    """Let Pillow not warn any more, in the whole process.

    It warns of sizes that are judged here, and of damaged metadata that nobody uses.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _open(data: bytes, field: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise TooLargeError(
            field,
            expected="an image of a usual size",
            got="one whose header declares a gigantic number of pixels",
            hint="scale the image down",
        ) from error
    except Exception as error:
        raise InvalidInputError(
            field,
            expected=f"an image ({', '.join(FORMATS)})",
            got=f"{len(data)} bytes that start with {data[:8]!r}",
        ) from error


def _pixels(image: Image.Image, field: str, size: int) -> NDArray[np.uint8]:
    """The pixels, upright; only now are they decoded."""
    try:
        # It copies what it does not turn.
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            image = ImageOps.exif_transpose(image)
        return np.asarray(_plain(image), dtype=np.uint8)
    except Exception as error:
        # Damage makes Pillow's many decoders stumble in as many ways.
        raise InvalidInputError(
            field,
            expected="a whole image",
            got=f"a damaged or cut off {image.format or 'image'} ({size} bytes)",
            hint="check that the upload is complete",
        ) from error


def _laid_on(colour: str, image: Image.Image) -> Image.Image:
    ground = Image.new("RGBA", image.size, colour)
    return Image.alpha_composite(ground, image).convert("RGB")


def _plain(image: Image.Image) -> Image.Image:
    """The image as 8-bit grey ("L") or colour ("RGB")."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.array(image, dtype=np.float64)
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        # In place: each copy would be eight bytes a pixel.
        values *= 255.0 / top
        np.clip(values, 0, 255, out=values)
        return Image.fromarray(values.round(out=values).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        flat = _laid_on("white", image)
        # White ink without paper would be gone.
        blank = int(np.asarray(flat).min(initial=255)) > _NEARLY_WHITE
        return _laid_on("black", image) if blank else flat
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")
