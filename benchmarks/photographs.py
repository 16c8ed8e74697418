"""Accuracy of a model on rendered photographs of digits, by kind of photograph.

    python -m benchmarks.photographs --version-folder demo/models/cnn/1 [--data-dir DIR]

Renders held-out digits of MNIST (or of the bundled digits: `--source digits`) as pen on paper,
lights and photographs them, with NumPy and Pillow only. Each photograph is a JPEG file that is
decoded, preprocessed by the model's contract and predicted by its LiteRT file, as in the service.
Each kind has different digits; otherwise the mean would mostly depend on how hard those few are.
The same seed renders the same photographs. Use `--split train` to tune anything.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from rockstar_contract.contract import CONTRACT_FILE, PREDICT_SIGNATURE, Contract, ImageInput
from rockstar_contract.images import decode_image
from rockstar_contract.preprocessing import preprocess
from rockstar_serving.model_server.engines.litert import LiteRTEngine
from rockstar_training.datasets import load
from rockstar_training.splits import Fractions

# float32.
Floats = NDArray[Any]
Random = np.random.Generator
Color = tuple[float, float, float]
Draw = Callable[[ImageDraw.ImageDraw, Random], None]
# From float32 [h, w, 3] in 0…1 and a generator to the same.
Change = Callable[[Floats, Random], Floats]

WHITE, INK = (0.93, 0.92, 0.9), (0.13, 0.14, 0.2)
# Larger photographs are rendered at this size and enlarged; a phone's are no sharper.
LARGEST_CANVAS = 1000


@dataclass(frozen=True)
class Photo:
    """A kind of photograph; angles and positions are uniformly distributed in their ranges.

    Attributes:
        width: width of the photograph in pixels; the height is three quarters of it.
        digit: height of the digit as a share of the photograph's height.
        turn: largest rotation of the digit in either direction, in degrees.
        off_center: largest offset of the digit, as a share of the photograph's width and height.
        paper: color of the paper, 0…1.
        ink: color of the ink, 0…1.
        pen: widens strokes (positive) or thins them, in quarters of a pixel of a 28 x 28 digit.
        cover: opacity of the ink.
        rough: unevenness of the ink, as of a pencil.
        grain: standard deviation of the paper's grain.
        print: drawings on the paper below the digit.
        light: changes by light and surroundings, in order.
        blur: blur radius as a share of the width.
        noise: standard deviation of the sensor's noise.
        quality: JPEG quality.
    """

    width: int = 640
    digit: float = 0.55
    turn: float = 5
    off_center: float = 0.06
    paper: Color = WHITE
    ink: Color = INK
    pen: int = 0
    cover: float = 0.92
    rough: float = 0.0
    grain: float = 0.012
    print: tuple[Draw, ...] = ()
    light: tuple[Change, ...] = field(default=())
    blur: float = 0.0012
    noise: float = 0.012
    quality: int = 85


# Drawings on the paper.


def ruled(gap: float, color: Color, width: float = 0.004) -> Draw:
    """Horizontal lines; the gap is a share of the height, the line width one of the width."""

    def draw(on: ImageDraw.ImageDraw, random: Random) -> None:
        w, h = on.im.size
        slope, first = np.tan(np.radians(random.uniform(-4, 4))) * w, random.uniform(0, gap)
        for y in np.arange(first - 0.2, 1.2, gap) * h:
            on.line([(0, y), (w, y + slope)], _rgb(color), max(1, round(width * w)))

    return draw


def squared(gap: float, color: Color, width: float = 0.003) -> Draw:
    """A square grid; the gap is a share of the height, the line width one of the width."""

    def draw(on: ImageDraw.ImageDraw, random: Random) -> None:
        w, h = on.im.size
        slope, (x, y) = np.tan(np.radians(random.uniform(-4, 4))), random.uniform(0, gap, 2)
        thick = max(1, round(width * w))
        for place in np.arange(-0.3, 1.7, gap) * h:
            on.line([(0, place + y * h), (w, place + y * h + slope * w)], _rgb(color), thick)
            on.line([(place + x * h, 0), (place + x * h - slope * h, h)], _rgb(color), thick)

    return draw


def dotted(on: ImageDraw.ImageDraw, random: Random) -> None:
    """A dot grid, as in notebooks."""
    w, h = on.im.size
    gap, r = 0.09 * h, 0.0035 * w
    for x in np.arange(random.uniform(0, gap), w, gap):
        for y in np.arange(random.uniform(0, gap / 4), h, gap):
            on.ellipse([x - r, y - r, x + r, y + r], _rgb((0.55, 0.55, 0.6)))


def margin(on: ImageDraw.ImageDraw, random: Random) -> None:
    """A red vertical line on the left."""
    w, h = on.im.size
    x = random.uniform(0.08, 0.16) * w
    on.line([(x, 0), (x + random.uniform(-0.03, 0.03) * w, h)], _rgb((0.8, 0.3, 0.35)), 3)


def box(inset: float, width: float, color: Color) -> Draw:
    """A rectangle; inset and line width are shares of the height."""

    def draw(on: ImageDraw.ImageDraw, _random: Random) -> None:
        w, h = on.im.size
        by, thick = inset * h, max(1, round(width * h))
        on.rectangle([by, by, w - 1 - by, h - 1 - by], outline=_rgb(color), width=thick)

    return draw


def specks(count: int, largest: float) -> Draw:
    """Spots of dirt; the largest radius is a share of the height."""

    def draw(on: ImageDraw.ImageDraw, random: Random) -> None:
        w, h = on.im.size
        for _ in range(count):
            x, y, r = random.uniform(0, w), random.uniform(0, h), random.uniform(0.2, 1) * largest
            on.ellipse([x - r * h, y - r * h, x + r * h, y + 0.8 * r * h], _rgb(INK))

    return draw


# Light, and surroundings of the paper.


def falling(to: float) -> Change:
    """Light that falls off to a share of itself from one side to the other."""

    def change(image: Floats, random: Random) -> Floats:
        along = _along(image.shape, random.uniform(0, 2 * np.pi))
        return image * (to + (1 - to) * along)[..., np.newaxis]

    return change


def vignette(to: float) -> Change:
    """Corners darkened to a share of their light."""

    def change(image: Floats, _random: Random) -> Floats:
        y, x = _axes(image.shape)
        distance = np.minimum(((x - 0.5) ** 2 + (y - 0.5) ** 2) * 2, 1)
        return image * (1 - (1 - to) * distance)[..., np.newaxis]

    return change


def shadow(to: float, softness: float) -> Change:
    """A shadow with a straight edge; softness is the edge's width as a share of the picture."""

    def change(image: Floats, random: Random) -> Floats:
        along = _along(image.shape, random.uniform(0, 2 * np.pi))
        lit = np.clip((along - random.uniform(0.25, 0.7)) / softness + 0.5, 0, 1)
        return image * (to + (1 - to) * lit)[..., np.newaxis]

    return change


def hand(to: float) -> Change:
    """The shadow, from below, of a hand that holds the phone."""

    def change(image: Floats, random: Random) -> Floats:
        h, w = image.shape[:2]
        mask = Image.new("L", (w, h), 255)
        on, middle = ImageDraw.Draw(mask), random.uniform(0.2, 0.8) * w
        on.ellipse([middle - 0.28 * w, 0.35 * h, middle + 0.28 * w, 1.6 * h], 0)
        for finger in range(3):
            x = middle + (finger - 1) * 0.18 * w
            on.rounded_rectangle([x - 0.05 * w, 0.15 * h, x + 0.05 * w, 0.8 * h], 0.05 * w, 0)
        lit = np.asarray(mask.filter(ImageFilter.GaussianBlur(0.012 * w)), np.float32) / 255
        return image * (to + (1 - to) * lit)[..., np.newaxis]

    return change


def exposure(by: float, tint: Color = (1, 1, 1)) -> Change:
    """The whole picture darker or lighter, and tinted."""
    factors = by * np.array(tint, np.float32)
    return lambda image, _: image * factors


def glare(image: Floats, random: Random) -> Floats:
    """The reflection of a lamp."""
    y, x = _axes(image.shape)
    across, down = random.uniform(0.1, 0.9, 2)
    spot: Floats = np.exp(-(((x - across) / 0.16) ** 2 + ((y - down) / 0.12) ** 2))
    spot = 0.75 * spot[..., np.newaxis]
    return np.asarray(image + spot * (1.05 - image))


def folds(image: Floats, random: Random) -> Floats:
    """Crumpled paper, with facets of different brightness."""
    for _ in range(7):
        along = _along(image.shape, random.uniform(0, 2 * np.pi)) - random.uniform(0.2, 0.8)
        facet = np.where(along > 0, 1 - np.minimum(along * 6, 1), 0)
        image = image * (1 - random.uniform(0.05, 0.2) * facet)[..., np.newaxis]
    return image


def desk(color: Color, inset: float, wood: float = 0.0) -> Change:
    """The paper at an angle on a desk, which is visible on all sides."""

    def change(image: Floats, random: Random) -> Floats:
        h, w = image.shape[:2]
        corners = [(inset * w, inset * h), ((1 - inset) * w, inset * h)]
        corners += [((1 - inset) * w, (1 - inset) * h), (inset * w, (1 - inset) * h)]
        turn = np.radians(random.uniform(-5, 5))
        middle = np.array([w / 2, h / 2])
        turned = [
            tuple(middle + _turned(np.array(corner) - middle, turn) + random.uniform(-8, 8, 2))
            for corner in corners
        ]
        return _laid(image, turned, _wooden(image.shape, color, wood, random))

    return change


def desk_edge(color: Color, share: float) -> Change:
    """The edge of the paper on the desk, on one side or two."""

    def change(image: Floats, random: Random) -> Floats:
        h, w = image.shape[:2]
        left, top = (
            random.uniform(0.5, 1, 2) * share * random.permutation([1, int(random.integers(2))])
        )
        skew = random.uniform(-0.04, 0.04, 2)
        corners = [
            ((left + skew[0]) * w, (top + skew[1]) * h if top else -9),
            (w + 9, (top - skew[1]) * h if top else -9),
            (w + 9, h + 9),
            ((left - skew[0]) * w if left else -9, h + 9),
        ]
        return _laid(image, corners, _wooden(image.shape, color, 0.03, random))

    return change


def kinds() -> dict[str, Photo]:
    """Kinds of photographs by name."""
    plain, blue, gray = Photo(), (0.62, 0.72, 0.88), (0.6, 0.62, 0.66)
    dark, brown = (0.16, 0.13, 0.12), (0.45, 0.3, 0.18)
    lined = replace(plain, print=(ruled(0.13, blue),))
    squares = replace(plain, print=(squared(0.1, gray),))
    pencil = replace(plain, ink=(0.4, 0.4, 0.42), cover=0.6, pen=-3, rough=0.35, noise=0.02)
    board = Photo(paper=(0.14, 0.24, 0.19), ink=(0.85, 0.86, 0.84), cover=0.8, grain=0.03, pen=1)
    white = Photo(paper=(0.86, 0.87, 0.88), ink=(0.1, 0.15, 0.45), pen=1, light=(glare,))
    night = (falling(0.6), exposure(0.22))
    return {
        "plain paper": plain,
        "light falls to 70 %": replace(plain, light=(falling(0.7),)),
        "light falls to half": replace(plain, light=(falling(0.5),)),
        "light falls to a quarter": replace(plain, light=(falling(0.25),)),
        "vignette": replace(plain, light=(vignette(0.5),)),
        "strong vignette": replace(plain, light=(vignette(0.25),)),
        "soft shadow": replace(plain, light=(shadow(0.5, 0.35),)),
        "hard shadow": replace(plain, light=(shadow(0.5, 0.015),)),
        "deep hard shadow": replace(plain, light=(shadow(0.3, 0.01),)),
        "shadow of a hand": replace(plain, light=(hand(0.5),)),
        "low light": replace(plain, light=night, noise=0.03),
        "evening lamp": replace(
            plain, light=(falling(0.5), exposure(0.5, (1, 0.8, 0.5))), noise=0.03
        ),
        "overexposed": replace(plain, light=(exposure(1.5),), ink=(0.35, 0.35, 0.4)),
        "out of focus": replace(plain, blur=0.012),
        "poor camera": replace(plain, width=400, noise=0.06, quality=35),
        "400 px": replace(plain, width=400, quality=70),
        "1,600 px": replace(plain, width=1600),
        "3,000 px": replace(plain, width=3000, noise=0.02),
        "ruled paper": lined,
        "ruled paper, margin, falling light": replace(
            lined, print=(*lined.print, margin), light=(falling(0.6),)
        ),
        "darkly ruled paper": replace(plain, print=(ruled(0.16, (0.3, 0.35, 0.5), 0.003),)),
        "squared paper": squares,
        "squared paper, shadow": replace(squares, light=(shadow(0.5, 0.1),)),
        "dotted paper": replace(plain, print=(dotted,)),
        "yellow note": replace(plain, paper=(0.95, 0.85, 0.35), light=(falling(0.7),)),
        "brown cardboard": replace(plain, paper=(0.62, 0.47, 0.32), grain=0.04),
        "crumpled paper": replace(plain, light=(folds,)),
        "frame at the edge": replace(plain, print=(box(0, 0.012, INK),)),
        "thick frame at the edge": replace(plain, print=(box(0, 0.05, (0.05, 0.05, 0.05)),)),
        "box around the digit": replace(
            plain, digit=0.5, print=(box(0.08, 0.007, (0.35, 0.35, 0.35)),)
        ),
        "box, falling light": replace(
            plain, digit=0.45, print=(box(0.14, 0.01, INK),), light=(falling(0.5),)
        ),
        "dark desk around the paper": replace(plain, digit=0.4, light=(desk(dark, 0.14),)),
        "wooden desk around the paper": replace(plain, digit=0.4, light=(desk(brown, 0.1, 0.15),)),
        "desk edge": replace(plain, digit=0.45, off_center=0.03, light=(desk_edge(dark, 0.18),)),
        "desk edge, shadow": replace(
            plain,
            digit=0.45,
            off_center=0.03,
            light=(desk_edge(brown, 0.18), shadow(0.6, 0.05)),
        ),
        "chalk on a board": board,
        "chalk, light falls to half": replace(board, light=(falling(0.5),)),
        "whiteboard with glare": white,
        "light pen on black paper": replace(plain, paper=(0.09, 0.09, 0.1), ink=(0.85, 0.8, 0.6)),
        "pencil": pencil,
        "pencil, ruled paper": replace(pencil, print=(ruled(0.13, (0.75, 0.82, 0.92)),)),
        "pencil, soft shadow": replace(pencil, light=(shadow(0.6, 0.3),)),
        "thin ballpoint": replace(plain, ink=(0.15, 0.2, 0.55), pen=-3, cover=0.85),
        "red felt-tip": replace(plain, ink=(0.8, 0.12, 0.15), pen=1),
        "marker": replace(plain, ink=(0.05, 0.05, 0.06), pen=4, cover=0.98),
        "turned up to 20°": replace(plain, turn=20),
        "small and off center": replace(plain, digit=0.2, off_center=0.28),
        "very small": replace(plain, digit=0.12, off_center=0.1, width=1200),
        "fills the picture": replace(plain, digit=0.88, off_center=0.02),
        "specks": replace(plain, print=(specks(25, 0.008),)),
        "many specks, falling light": replace(
            plain, print=(specks(60, 0.01),), light=(falling(0.6),)
        ),
    }


def photograph(digit: NDArray[np.uint8], photo: Photo, random: Random) -> Image.Image:
    """Render a digit, uint8 [h, w] light on dark, as a photograph."""
    width = min(photo.width, LARGEST_CANVAS)
    height = width * 3 // 4
    page = Image.new("RGB", (width, height), _rgb(photo.paper))
    on = ImageDraw.Draw(page)
    for draw in photo.print:
        draw(on, random)
    ink = _written(digit, photo, (width, height), random)[..., np.newaxis] * photo.cover
    if photo.rough:
        ink *= np.clip(1 + _smooth_noise((height, width), photo.rough, random), 0, 1)
    image = np.asarray(page, np.float32) / 255 + _smooth_noise((height, width), photo.grain, random)
    image = image * (1 - ink) + np.array(photo.ink, np.float32) * ink
    for change in photo.light:
        image = change(image, random)
    taken = Image.fromarray((np.clip(image, 0, 1) * 255).astype(np.uint8))
    taken = taken.filter(ImageFilter.GaussianBlur(photo.blur * width))
    if photo.width > width:
        taken = taken.resize((photo.width, photo.width * 3 // 4), Image.Resampling.BICUBIC)
    pixels = np.asarray(taken, np.float32)
    pixels = pixels + random.standard_normal(pixels.shape, np.float32) * (photo.noise * 255)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _written(
    digit: NDArray[np.uint8], photo: Photo, size: tuple[int, int], random: Random
) -> Floats:
    """Amount of ink, float32 [height, width] in 0…1, with the sharp edges of a pen."""
    rows, columns = (np.flatnonzero(digit.any(axis=axis)) for axis in (1, 0))
    shape = Image.fromarray(digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    # MNIST's digits are 20 rows high; draw them at four times that size.
    scale = 80 / max(shape.size)
    shape = shape.resize(
        (max(4, round(shape.width * scale)), max(4, round(shape.height * scale))),
        Image.Resampling.BICUBIC,
    )
    framed = Image.new("L", (shape.width + 24, shape.height + 24))
    framed.paste(shape, (12, 12))
    if photo.pen > 0:
        framed = framed.filter(ImageFilter.MaxFilter(2 * photo.pen + 1))
    elif photo.pen < 0:
        framed = _thinned(framed, 1 - 2 * photo.pen)
    framed = framed.filter(ImageFilter.GaussianBlur(1.2))
    scale = photo.digit * size[1] / max(shape.size)
    large = framed.resize(
        (round(framed.width * scale), round(framed.height * scale)), Image.Resampling.BICUBIC
    ).rotate(random.uniform(-photo.turn, photo.turn), Image.Resampling.BICUBIC, expand=True)
    canvas = Image.new("L", size)
    middle = [side * (0.5 + random.uniform(-1, 1) * photo.off_center) for side in size]
    canvas.paste(large, (round(middle[0] - large.width / 2), round(middle[1] - large.height / 2)))
    values = np.asarray(canvas, np.float32) / 255
    return np.clip((values - 0.42) * max(2.0, 0.8 * scale) + 0.5, 0, 1).astype(np.float32)


def _thinned(shape: Image.Image, width: int) -> Image.Image:
    """Strokes eroded at the edges; parts thinner than `width` are kept."""
    core = shape.filter(ImageFilter.MinFilter(width))
    thin = ImageChops.subtract(shape, core.filter(ImageFilter.MaxFilter(width)))
    return ImageChops.lighter(core, thin.filter(ImageFilter.MedianFilter(3)))


def _rgb(color: Color) -> tuple[int, int, int]:
    red, green, blue = (round(255 * value) for value in color)
    return red, green, blue


def _axes(shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Coordinates of rows and columns in 0…1, for broadcasting."""
    y, x = (np.linspace(0, 1, side, dtype=np.float32) for side in shape[:2])
    return y[:, np.newaxis], x[np.newaxis]


def _along(shape: tuple[int, ...], angle: float) -> Floats:
    """A gradient, 0…1, across the picture in a direction."""
    y, x = _axes(shape)
    along = np.cos(angle) * x + np.sin(angle) * y
    return np.asarray((along - along.min()) / (along.max() - along.min()), np.float32)


def _turned(point: NDArray[Any], angle: float) -> NDArray[Any]:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([cos * point[0] - sin * point[1], sin * point[0] + cos * point[1]])


def _smooth_noise(shape: tuple[int, int], deviation: float, random: Random) -> Floats:
    """Noise with a grain of a few pixels, [h, w, 1]."""
    coarse = random.normal(0, deviation, (shape[0] // 3 + 1, shape[1] // 3 + 1))
    image = Image.fromarray(coarse.astype(np.float32))
    resized = image.resize(shape[::-1], Image.Resampling.BILINEAR)
    return np.asarray(resized)[..., np.newaxis] * np.float32(1.5)


def _wooden(shape: tuple[int, ...], color: Color, wood: float, random: Random) -> Floats:
    """A desk: plain, or with a wood grain along the rows."""
    coarse = Image.fromarray(random.normal(0, 1, (shape[0] // 12, 5)).astype(np.float32))
    streaks = np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))
    return np.array(color, np.float32) * (1 + wood * streaks)[..., np.newaxis]


def _laid(image: Floats, corners: Sequence[Sequence[float]], below: Floats) -> Floats:
    """The paper, within its corners, on a background, with a narrow shadow."""
    mask = Image.new("L", (image.shape[1], image.shape[0]))
    ImageDraw.Draw(mask).polygon([(x, y) for x, y in corners], fill=255)
    inside = np.asarray(mask.filter(ImageFilter.GaussianBlur(1)), np.float32)[..., np.newaxis] / 255
    near = np.asarray(mask.filter(ImageFilter.GaussianBlur(8)), np.float32)[..., np.newaxis] / 255
    return np.asarray(inside * image + (1 - inside) * below * (1 - 0.5 * near), np.float32)


def jpeg(image: Image.Image, quality: int) -> bytes:
    """The photograph as a JPEG file."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


class Digits:
    """Digits of a split in random order, with the same number of each label."""

    def __init__(self, source: str, part: str, seed: int, data_dir: Path | None) -> None:
        self._dataset = load(source, data_dir)
        parts = self._dataset.split(Fractions(0.2, 0, 0))
        index = parts.test if part == "test" else parts.train
        index = np.random.default_rng(seed).permutation(index)
        labels = self._dataset.labels[index]
        self._by_label = [index[labels == label] for label in range(10)]

    def take(self, number: int, count: int) -> list[tuple[NDArray[np.uint8], int]]:
        """The digits of kind `number`: images uint8 [h, w] and their labels.

        Kinds share no digits unless the split is too small.
        """
        per_label = -(-count // 10)
        places = np.arange(number * per_label, (number + 1) * per_label)
        each = [index[places % len(index)] for index in self._by_label]
        chosen = np.stack(each, axis=1).ravel()[:count]
        return [(self._dataset.images[i, :, :, 0], int(self._dataset.labels[i])) for i in chosen]


class Reader:
    """Reads photographs with a model version, as the service does."""

    def __init__(self, folder: Path) -> None:
        """Open a version folder."""
        self.contract = Contract.from_json((folder / CONTRACT_FILE).read_bytes())
        if not isinstance(self.contract.input, ImageInput):
            raise click.ClickException(f"{folder} is not an image model")
        self._spec = self.contract.input
        self._engine = LiteRTEngine(folder)

    def __call__(self, files: list[bytes]) -> NDArray[np.float32]:
        """Probabilities, float32 [files, labels]."""
        steps = self._spec.preprocessing
        tensors = [preprocess(decode_image(file), steps) for file in files]
        feeds = {self._spec.name: np.stack(tensors)}
        outputs = self._engine.run(PREDICT_SIGNATURE, feeds, [self.contract.output])
        return np.asarray(outputs[self.contract.output], np.float32)


@click.command()
@click.option("--version-folder", default="demo/models/cnn/1", type=click.Path(path_type=Path))
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of mnist.npz.")
@click.option("--source", default="mnist", type=click.Choice(["mnist", "digits"]))
@click.option("--split", "part", default="test", type=click.Choice(["test", "train"]))
@click.option("--count", default=100, help="Photographs of each kind.")
@click.option("--kind", "only", multiple=True, help="Only kinds whose names contain this.")
@click.option("--seed", default=0)
@click.option("--save", type=click.Path(path_type=Path), help="Folder for the first of each kind.")
def main(
    version_folder: Path,
    data_dir: Path | None,
    source: str,
    part: str,
    count: int,
    only: tuple[str, ...],
    seed: int,
    save: Path | None,
) -> None:
    """Print the accuracy of a model on each kind of photograph, and the mean over kinds."""
    read = Reader(version_folder)
    digits = Digits(source, part, seed, data_dir)
    shares = []
    for number, (name, photo) in enumerate(kinds().items()):
        if only and not any(text in name for text in only):
            continue
        examples = digits.take(number, count)
        truth = np.array([label for _, label in examples])
        random = np.random.default_rng([seed, number])
        files = [jpeg(photograph(d, photo, random), photo.quality) for d, _ in examples]
        if save:
            save.mkdir(parents=True, exist_ok=True)
            (save / f"{number:02d} {name.replace('/', '-')}.jpg").write_bytes(files[0])
        right = read(files).argmax(axis=1) == truth
        shares.append(float(right.mean()))
        click.echo(f"{name:38} {shares[-1]:6.3f}")
    click.echo(f"{'mean over kinds':38} {np.mean(shares):6.3f}")
    click.echo(f"{'lowest':38} {np.min(shares):6.3f}")


if __name__ == "__main__":
    main()
