"""The worst mistakes: held-out examples that the model is surest about and wrong."""

import io

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from rockstar_training.report.data import Classified, ImageAt
from rockstar_training.report.section import Section, Table, Tile
from rockstar_training.report.theme import SMALL, Theme, new_figure, plain

SHOWN = 16
_COLUMNS = 4
# Pixels: larger images are made smaller, smaller ones left for the page to enlarge.
_THUMBNAIL = 160


def worst(outcome: Classified, most: int = SHOWN) -> NDArray[np.int64]:
    """Rows that are wrong, int64, the surest first."""
    wrong = np.flatnonzero(outcome.predicted != outcome.truth)
    sureness = outcome.probabilities[wrong].max(axis=1)
    return wrong[np.argsort(-sureness, kind="stable")][:most]


def section(outcome: Classified, labels: tuple[str, ...]) -> Section:
    """The worst mistakes as images, or as a table where the examples are none."""
    rows, count = worst(outcome), len(outcome.truth)
    wrong = count - outcome.right
    title = "Worst mistakes"
    if not wrong:
        return Section("mistakes", title, f"All {count} held-out examples are classified right.")
    told = "all of them" if wrong == len(rows) else f"the {len(rows)} that it is surest of"
    text = f"{wrong} of {count} held-out examples are wrong; here {told}, the surest first."
    table = _table(outcome, labels, rows)
    if outcome.image is None:
        return Section("mistakes", title, text, table=table)
    images = [thumbnail(outcome.image, row) for row in rows]
    captions = [
        (
            f"{labels[outcome.truth[row]]} taken for {labels[outcome.predicted[row]]}",
            f"probability {_top(outcome, row):.3f}",
        )
        for row in rows
    ]
    tiles = tuple(
        Tile(_encoded(image), f"Held-out example {row}: {caption[0]}, {caption[1]}", caption)
        for image, row, caption in zip(images, rows, captions, strict=True)
    )
    return Section(
        key="mistakes",
        title=title,
        text=text,
        alt="; ".join(f"{first}, {second}" for first, second in captions),
        draw=lambda theme: _draw(theme, outcome, labels, rows, images),
        table=table,
        gallery=tiles,
    )


def thumbnail(image: ImageAt, row: int) -> NDArray[np.uint8]:
    """A held-out image, at most 160 pixels high and wide: uint8 [h, w] or [h, w, 3]."""
    pixels = image(int(row))
    small = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return np.asarray(small)


def _draw(
    theme: Theme,
    outcome: Classified,
    labels: tuple[str, ...],
    rows: NDArray[np.int64],
    images: list[NDArray[np.uint8]],
) -> Figure:
    lines = -(-len(rows) // _COLUMNS)
    figure = new_figure(theme, 0.15 + 1.85 * lines)
    grid = figure.subplots(lines, _COLUMNS, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, row, image in zip(grid, rows, images, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        truth, guess = (labels[which[row]] for which in (outcome.truth, outcome.predicted))
        caption = (
            f"true  {plain(truth, 12)}\nsaid  {plain(guess, 12)}\nprob. {_top(outcome, row):.3f}"
        )
        axes.set_title(caption, loc="left", fontsize=SMALL, color=theme.ink)
    return figure


def _top(outcome: Classified, row: int) -> float:
    return float(outcome.probabilities[row].max())


def _table(outcome: Classified, labels: tuple[str, ...], rows: NDArray[np.int64]) -> Table:
    return Table(
        ("Held-out example", "True", "Predicted", "Probability", "Probability of the true one"),
        tuple(
            (
                str(row),
                labels[outcome.truth[row]],
                labels[outcome.predicted[row]],
                f"{_top(outcome, row):.3f}",
                f"{outcome.probabilities[row, outcome.truth[row]]:.3f}",
            )
            for row in rows
        ),
    )


def _encoded(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
