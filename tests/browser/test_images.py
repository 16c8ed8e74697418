"""Images are decoded as a browser shows them, pixel by pixel."""

import base64
import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from playwright.sync_api import Browser, Page

from rockstar_contract.images import decode_image

# On white, as in a page. A bitmap has the first frame of an animation, but only an element accepts
# truncated files.
_DRAW = """async (text) => {
  const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
  const blob = new Blob([bytes]);
  const element = async () => {
    const image = new Image();
    const loaded = new Promise((done, failed) => { image.onload = done; image.onerror = failed; });
    image.src = URL.createObjectURL(blob);
    await loaded;
    return image;
  };
  const image = await createImageBitmap(blob).catch(element);
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, image.width, image.height);
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, image.width, image.height).data;
  let drawn = "";
  for (const each of pixels) drawn += String.fromCharCode(each);
  return [image.width, image.height, btoa(drawn)];
}"""


def scene(width: int = 72, height: int = 48) -> Image.Image:
    """Soft colored shapes without any symmetry."""
    image = Image.new("RGB", (width, height), (235, 225, 210))
    draw = ImageDraw.Draw(image)
    draw.rectangle((4, 4, 30, 14), fill=(30, 60, 160))
    draw.ellipse((40, 10, 66, 44), fill=(200, 60, 40))
    draw.line((8, 40, 34, 20), fill=(20, 120, 60), width=5)
    return image.filter(ImageFilter.GaussianBlur(1))


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def oriented(value: int, kind: int = 3, order: str = "<", *more: bytes) -> bytes:
    """EXIF with an orientation of that type, and entries of 12 bytes after it."""
    head = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(f"{order}HHI", 0x0112, kind, 1)
    entry += struct.pack(f"{order}I", value) if kind == 4 else struct.pack(f"{order}HH", value, 0)
    count = struct.pack(f"{order}IH", 8, 1 + len(more))
    return b"Exif\0\0" + head + count + entry + b"".join(more) + bytes(4)


def with_chunk(png: bytes, name: bytes, data: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(name + data) if crc is None else crc
    return png[:33] + struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc) + png[33:]


def see_through(color: tuple[int, int, int] | None = None) -> Image.Image:
    image = scene()
    alpha = image.convert("L").point(lambda value: 255 - value)
    image = Image.new("RGB", image.size, color) if color else image
    image.putalpha(alpha)
    return image


def bmp(version: int, alpha: int, bits: int = 32, *, upside_down: bool = False) -> bytes:
    """A BMP of 16 or 32 bits a pixel with a header of 40, 108 or 124 bytes."""
    image = scene()
    step = 1 if upside_down else -1
    pixels = np.asarray(image)[::step].astype(np.uint32)
    red, green, blue = (pixels[:, :, channel] for channel in range(3))
    if bits == 32:
        rows = (blue | green << 8 | red << 16 | alpha << 24).astype("<u4")
    else:
        rows = (blue >> 3 | green >> 3 << 5 | red >> 3 << 10).astype("<u2")
    size = {1: 40, 4: 108, 5: 124}[version]
    masks = version > 1 and bits == 32
    height = -image.height if upside_down else image.height
    head = struct.pack(
        "<IiiHHIIiiII",
        size,
        image.width,
        height,
        1,
        bits,
        3 if masks else 0,
        rows.nbytes,
        0,
        0,
        0,
        0,
    )
    if version > 1:
        rest = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) if masks else bytes(16)
        head += rest + b"BGRs" + bytes(size - 60)
    content = head + rows.tobytes()
    return b"BM" + struct.pack("<IHHI", 14 + len(content), 0, 0, 14 + len(head)) + content


def zoo() -> Iterator[tuple[str, bytes]]:
    """Files of every kind that people send and browsers show."""
    image, grey = scene(), scene().convert("L")
    frames = [image, image.transpose(Image.Transpose.ROTATE_180)]
    for value in range(1, 10):
        yield f"JPEG turned by {value}", saved(image, "JPEG", exif=oriented(value))
    for kind in ("PNG", "WEBP", "AVIF"):
        yield f"{kind} turned by 6", saved(image, kind, exif=oriented(6))
    yield "JPEG, big-endian EXIF", saved(image, "JPEG", exif=oriented(8, 3, ">"))
    yield "JPEG, orientation as a long", saved(image, "JPEG", exif=oriented(6, 4))
    yield "JPEG, orientation as bytes", saved(image, "JPEG", exif=oriented(6, 1))
    odd = struct.pack("<HHII", 0x011A, 10, 1, 26)
    yield "JPEG, resolution of an odd type", saved(image, "JPEG", exif=oriented(6, 3, "<", odd))
    far = struct.pack("<HHII", 0x8769, 4, 1, 2**31)
    yield "JPEG, EXIF that points away", saved(image, "JPEG", exif=oriented(3, 3, "<", far))
    for kind in ("JPEG", "PNG", "WEBP"):
        yield f"{kind}, EXIF that is none", saved(image, kind, exif=b"Exif\0\0no TIFF header")
    yield (
        "JPEG, orientation in XMP",
        saved(
            image,
            "JPEG",
            xmp=b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>',
        ),
    )
    yield "JPEG, progressive", saved(image, "JPEG", progressive=True)
    yield "JPEG, 4:2:0", saved(image, "JPEG", subsampling=2)
    yield "JPEG, grey", saved(grey, "JPEG")
    yield "JPEG, CMYK", saved(image.convert("CMYK"), "JPEG", quality=95)
    yield "JPEG and a video", saved(image, "JPEG") + b"\0\0\0\x18ftypmp42" + bytes(99)
    yield "MPO", saved(image, "MPO", save_all=True, append_images=frames[1:])
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        yield f"PNG, {mode}", saved(image.convert(mode), "PNG")
    wide = np.asarray(grey, np.uint16) * 257
    yield "PNG, 16 bits", saved(Image.fromarray(wide), "PNG")
    yield "PNG, dark ink on nothing", saved(see_through((20, 20, 60)), "PNG")
    yield "PNG, colors that are half transparent", saved(see_through(), "PNG")
    palette = image.quantize(8)
    yield "PNG, a transparent color", saved(palette, "PNG", transparency=0)
    yield "PNG, transparent palette", saved(palette, "PNG", transparency=bytes(range(0, 240, 30)))
    yield "PNG, a transparent grey", saved(grey, "PNG", transparency=grey.getpixel((0, 0)))
    png = saved(image, "PNG")
    yield "PNG, large text", with_chunk(png, b"zTXt", b"a\0\0" + zlib.compress(bytes(2**21)))
    yield "PNG, wrong checksum of a text", with_chunk(png, b"tEXt", b"a\0b", crc=7)
    yield "PNG, damaged profile", with_chunk(png, b"iCCP", b"a\0\0nothing")
    yield "PNG, eXIf of zeros", with_chunk(png, b"eXIf", bytes(8))
    yield "PNG without its end", png[:-12]
    for kind in ("PNG", "WEBP", "GIF"):
        yield (
            f"{kind}, animated",
            saved(image, kind, save_all=True, append_images=frames[1:], duration=60_000),
        )
    yield (
        "PNG, animated, another image before",
        saved(
            frames[1],
            "PNG",
            save_all=True,
            append_images=frames,
            default_image=True,
            duration=60_000,
        ),
    )
    yield "WebP, lossy", saved(image, "WEBP", quality=90)
    yield "WebP, transparent", saved(see_through((0, 60, 0)), "WEBP", lossless=True)
    # Browsers and Pillow differ for half-transparent AVIF.
    clear = see_through((0, 60, 0))
    clear.putalpha(clear.getchannel("A").point(lambda value: 255 * (value > 99)))
    yield "AVIF, transparent", saved(clear, "AVIF", quality=95)
    yield "AVIF, grey", saved(grey, "AVIF", quality=95)
    yield "GIF", saved(image, "GIF")
    yield "GIF, transparent", saved(palette, "GIF", transparency=0)
    for mode in ("1", "L", "P", "RGB"):
        yield f"BMP, {mode}", saved(image.convert(mode), "BMP")
    # With an alpha of 0, browsers show nothing; clipboards write 0, and Windows ignores it.
    for version in (4, 5):
        yield f"BMP, version {version}", bmp(version, 255)
    yield "BMP, alpha without a name", bmp(1, 0)
    yield "BMP, 16 bits", bmp(1, 0, 16)
    yield "BMP from the top", bmp(1, 0, upside_down=True)
    square = image.resize((64, 64))
    yield "ICO", saved(square, "ICO", sizes=[(64, 64)])
    yield "ICO, bitmap", saved(square, "ICO", sizes=[(64, 64)], bitmap_format="bmp")


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    yield page
    page.close()


def drawn(page: Page, data: bytes) -> NDArray[np.uint8]:
    """The pixels that the browser draws, uint8 [h, w, 3]."""
    width, height, text = page.evaluate(_DRAW, base64.b64encode(data).decode())
    pixels = np.frombuffer(base64.b64decode(text), np.uint8)
    return pixels.reshape(height, width, 4)[:, :, :3]


def test_images_are_decoded_as_the_browser_shows_them(page: Page) -> None:
    files = dict(zoo())
    assert len(files) > 60
    wrong = []
    for name, data in files.items():
        ours, theirs = decode_image(data), drawn(page, data)
        if ours.shape[:2] != theirs.shape[:2]:
            wrong.append(f"{name}: {ours.shape} instead of {theirs.shape}")
        elif (difference := float(np.abs(ours.astype(int) - theirs).mean())) > 2:
            wrong.append(f"{name}: differs by {difference:.1f} on average")
    assert not wrong
