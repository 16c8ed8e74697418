"""Sections about a classifier: confusion matrix, worst mistakes, calibration and weights."""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import CenteredNorm, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from rockstar_contract.images import to_pillow
from rockstar_training.evaluation import majority_share, wilson
from rockstar_training.report import theme
from rockstar_training.report.theme import Cell, Section, Table, Tile, new_plot, plain

# With more classes, the counts and the names in the matrix would overlap.
_MAX_COUNTED, _MAX_NAMED = 16, 40
# Letters in all column names together that fit side by side.
_HORIZONTAL_LETTERS = 36
# Mistakes that are shown, and in how many columns.
_MISTAKES, _COLUMNS = 16, 4
# Inches above each of them for its caption.
_CAPTION = 0.55
# Pixels: larger images are scaled down, smaller ones are enlarged by the page. Up to _EXACT, images
# are stored without loss.
_THUMBNAIL, _EXACT = 160, 64
# Images of a cell of the confusion matrix, their side in pixels, and the bytes of all together.
_CELL_IMAGES, _CELL_SIDE, _MATRIX_BYTES = 6, 72, 400_000
_BINS = 10
# Classes and filters whose weights are drawn.
_MAX_CLASSES, _MAX_FILTERS = 30, 64
# Space between the images of weights and for their titles, as shares of an image's side.
_GAP, _TITLE = 0.1, 0.16
_CHANNELS = ("red", "green", "blue")


@dataclass(frozen=True, eq=False)
class Classified:
    """Predictions of a classifier for the held-out examples."""

    truth: NDArray[np.int64]  # [n], indices into the contract's labels
    probabilities: NDArray[np.float32]  # [n, classes]
    # Loads a held-out image by its row, uint8 [h, w, 1 or 3]; None if the examples are not images.
    image: Callable[[int], NDArray[np.uint8]] | None = None
    rows: ClassVar[str] = "held-out examples"

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most likely class of each example, int64 [n]."""
        likeliest: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return likeliest

    @property
    def right(self) -> int:
        """The number of correct predictions."""
        return int((self.predicted == self.truth).sum())

    def key_figures(self) -> tuple[tuple[str, str], ...]:
        """List accuracy with its confidence interval, and the calibration error."""
        right, count = self.right, len(self.truth)
        low, high = wilson(right, count)
        return (
            ("Accuracy", f"{right / count:.4f}"),
            ("95 % confidence interval", f"{low:.4f} to {high:.4f} (Wilson)"),
            ("Right", f"{right} of {count} held-out examples"),
            ("Accuracy of predicting the majority class", f"{majority_share(self.truth):.4f}"),
            ("Expected calibration error", f"{calibrate(self).error:.4f}"),
        )


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Metrics of each class; NaN for a class without examples or without predictions."""

    counts: NDArray[np.int64]  # [classes, classes], rows are true classes, columns predicted ones
    precision: NDArray[np.float64]  # [classes], correct share of the predictions of a class
    recall: NDArray[np.float64]  # [classes], correctly predicted share of the examples of a class
    f1: NDArray[np.float64]  # [classes], harmonic mean of both
    support: NDArray[np.int64]  # [classes], examples of the class


def class_scores(outcome: Classified) -> ClassScores:
    """Compute the confusion matrix and the metrics of each class."""
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    classes = np.arange(outcome.probabilities.shape[1])
    with warnings.catch_warnings():
        # Classes without held-out examples are shown as such.
        warnings.simplefilter("ignore")
        precision, recall, f1, support = precision_recall_fscore_support(
            outcome.truth, outcome.predicted, labels=classes, zero_division=np.nan
        )
        counts = confusion_matrix(outcome.truth, outcome.predicted, labels=classes)
    return ClassScores(counts, precision, recall, f1, support)


def score_table(outcome: Classified, labels: tuple[str, ...]) -> Table:
    """List precision, recall and F1 of each class; a dash is an undefined value."""
    found = class_scores(outcome)
    columns = (found.support, np.diag(found.counts), found.precision, found.recall, found.f1)
    return Table(
        ("Label", "Examples", "Right", "Precision", "Recall", "F1"),
        tuple(
            (
                *(label, str(n), str(right)),
                *("–" if np.isnan(share) else f"{share:.3f}" for share in shares),
            )
            for label, n, right, *shares in zip(labels, *columns, strict=True)
        ),
    )


def confusion_section(outcome: Classified, labels: tuple[str, ...]) -> Section:
    """Show the confusion matrix and the scores of each class."""
    found = class_scores(outcome)
    wrong = found.counts.copy()
    np.fill_diagonal(wrong, 0)
    right, count = int(np.trace(found.counts)), int(found.counts.sum())
    alt = f"Matrix of {len(labels)} classes: {right} of {count} examples on the diagonal."
    if wrong.any():
        row, column = np.unravel_index(wrong.argmax(), wrong.shape)
        alt += (
            f" Most frequent mistake: {labels[int(row)]} predicted as {labels[int(column)]}, "
            f"{wrong[row, column]} times."
        )
    return Section(
        key="confusion_matrix",
        title="Confusion matrix",
        text=(
            "Rows are the true classes of the held-out examples, columns the predicted ones; the "
            "diagonal is correct. Recall is the correct share of a row, precision that of a "
            "column. The color shows the share of the row; small shares are emphasized to make "
            "single mistakes visible."
        ),
        alt=alt,
        draw=lambda: _draw_confusion(found, labels),
        table=score_table(outcome, labels),
        matrix=_matrix(outcome, labels, found.counts),
    )


def _matrix(
    outcome: Classified, labels: tuple[str, ...], counts: NDArray[np.int64]
) -> tuple[tuple[str, tuple[Cell, ...]], ...]:
    """Return the cells with images of their most confident examples; none if there are many."""
    if outcome.image is None or len(labels) > _MAX_COUNTED:
        return ()
    load = outcome.image
    confidence = outcome.probabilities.max(axis=1)
    room = _MATRIX_BYTES

    def tiles(true: int, guess: int) -> tuple[Tile, ...]:
        nonlocal room
        rows = np.flatnonzero((outcome.truth == true) & (outcome.predicted == guess))
        rows = rows[np.argsort(-confidence[rows], kind="stable")][:_CELL_IMAGES]
        found = []
        for row in rows:
            image = _thumbnail(load(int(row)), _CELL_SIDE)
            room -= len(image)
            if room < 0:
                break
            found.append(Tile(image, f"Held-out example {row}, {confidence[row]:.3f}", ()))
        return tuple(found)

    # Mistakes first, so that they get the room.
    places = sorted(np.ndindex(*counts.shape), key=lambda place: place[0] == place[1])
    shown = {place: tiles(*place) for place in places if counts[place]}
    return tuple(
        (
            label,
            tuple(
                Cell(
                    int(count),
                    float(count / max(counts[row].sum(), 1)),
                    f"{label} predicted as {labels[column]}: {count} of {counts[row].sum()}",
                    shown.get((row, column), ()),
                )
                for column, count in enumerate(counts[row])
            ),
        )
        for row, label in enumerate(labels)
    )


def _thumbnail(pixels: NDArray[np.uint8], side: int) -> bytes:
    """Encode an image, [h, w, 1 or 3], as a PNG or WebP file of at most side x side pixels."""
    image = to_pillow(pixels)
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "PNG" if max(image.size) <= _EXACT else "WEBP")
    return buffer.getvalue()


def _draw_confusion(found: ClassScores, labels: tuple[str, ...]) -> Figure:
    figure, axes = new_plot(theme.WIDTH * 1.02, "predicted", "true")
    axes.grid(False)
    shares = found.counts / np.maximum(found.counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap=theme.SEQUENTIAL, norm=PowerNorm(0.4, 0, 1), aspect="equal")
    axes.tick_params(length=0)
    if len(labels) <= _MAX_NAMED:
        names = [plain(label) for label in labels]
        long = len(names) * max(map(len, names)) > _HORIZONTAL_LETTERS
        size = theme.SMALL if len(labels) <= 20 else theme.SMALL * 0.7
        axes.set_xticks(range(len(names)), names, rotation=90 if long else 0, fontsize=size)
        axes.set_yticks(range(len(names)), names, fontsize=size)
    if len(labels) > _MAX_COUNTED:
        return figure
    style: dict[str, Any] = {"ha": "center", "va": "center"}
    for (row, column), count in np.ndenumerate(found.counts):
        # From about this share on, the cell is so dark that text needs the background's color.
        over = shares[row, column] > 0.25
        style["color"] = (theme.PAPER if over else theme.INK) if count else theme.MUTED
        style["fontweight"] = "bold" if count and row != column else "normal"
        axes.text(column, row, str(count) if count else "·", **style)
    _annotate_margins(axes, found)
    return figure


def _annotate_margins(axes: Axes, found: ClassScores) -> None:
    """Write recall next to the rows and precision above the columns, in percent."""
    style: dict[str, Any] = {"textcoords": "offset points", "annotation_clip": False}
    right = {**style, "xycoords": axes.get_yaxis_transform(), "ha": "left", "va": "center"}
    above = {**style, "xycoords": axes.get_xaxis_transform(), "ha": "center", "va": "bottom"}
    for place, shares in enumerate(zip(found.recall, found.precision, strict=True)):
        recall, precision = ("–" if np.isnan(s) else f"{100 * s:.0f}" for s in shares)
        axes.annotate(recall, (1, place), (6, 0), **right)
        axes.annotate(precision, (place, 1), (0, 6), **above)
    names = {**style, "xycoords": axes.transAxes, "va": "bottom", "color": theme.MUTED}
    axes.annotate("recall %", (1, 1), (6, 6), **names)
    axes.annotate("precision %", (0, 1), (0, 20), **names)


def mistakes_section(outcome: Classified, labels: tuple[str, ...]) -> Section:
    """Show the mistakes with the highest probability, as images or as a table."""
    top = outcome.probabilities.max(axis=1)
    mistakes = np.flatnonzero(outcome.predicted != outcome.truth)
    rows = mistakes[np.argsort(-top[mistakes], kind="stable")][:_MISTAKES]
    wrong, count = len(mistakes), len(outcome.truth)
    title = "Worst mistakes"
    if not wrong:
        return Section("mistakes", title, f"All {count} held-out examples are classified right.")
    which = "all of them" if wrong == len(rows) else f"the {len(rows)} most confident mistakes"
    text = f"{wrong} of {count} held-out examples are wrong; here {which}, most confident first."
    truth, guess = (
        [labels[each[row]] for row in rows] for each in (outcome.truth, outcome.predicted)
    )
    table = Table(
        ("Held-out example", "True", "Predicted", "Probability", "Probability of the true one"),
        tuple(
            (str(row), true, guessed, f"{top[row]:.3f}", f"{chance:.3f}")
            for row, true, guessed, chance in zip(
                rows, truth, guess, outcome.probabilities[rows, outcome.truth[rows]], strict=True
            )
        ),
    )
    if outcome.image is None:
        return Section("mistakes", title, text, table=table)
    images, tiles = [], []
    for row, true, guessed in zip(rows, truth, guess, strict=True):
        thumbnail = _thumbnail(outcome.image(int(row)), _THUMBNAIL)
        caption = (f"{true} predicted as {guessed}", f"probability {top[row]:.3f}")
        alt = f"Held-out example {row}: {caption[0]}, {caption[1]}"
        images.append(np.asarray(Image.open(io.BytesIO(thumbnail))))
        tiles.append(Tile(thumbnail, alt, caption))

    def draw() -> Figure:
        # Inches. One pair of axes for all images is much faster than one for each.
        side = theme.WIDTH / _COLUMNS
        height = -(-len(rows) // _COLUMNS) * (side + _CAPTION)
        figure = Figure(figsize=(theme.WIDTH, height))
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        for place, (row, image, true, guessed) in enumerate(
            zip(rows, images, truth, guess, strict=True)
        ):
            left, above = place % _COLUMNS * side, place // _COLUMNS * (side + _CAPTION) + _CAPTION
            caption = f"true  {plain(true, 12)}\npred. {plain(guessed, 12)}\nprob. {top[row]:.3f}"
            axes.text(left, above - 0.05, caption, va="bottom", linespacing=1.2)
            down, right = (0.92 * side * n / max(image.shape[:2]) for n in image.shape[:2])
            where = (left, left + right, above + down, above)
            style: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255}
            axes.imshow(image, extent=where, interpolation="nearest", **style)
        axes.set(xlim=(-0.05, theme.WIDTH), ylim=(height, 0), aspect="auto")
        return figure

    return Section(
        key="mistakes",
        title=title,
        text=text,
        alt="; ".join(", ".join(tile.lines) for tile in tiles),
        draw=draw,
        table=table,
        gallery=tuple(tiles),
    )


@dataclass(frozen=True, eq=False)
class Calibration:
    """Predictions in equal bins of the probability of the predicted class, without empty bins."""

    low: NDArray[np.float64]  # [bins], the lower ends
    count: NDArray[np.int64]  # [bins], predictions
    confidence: NDArray[np.float64]  # [bins], mean probability
    accuracy: NDArray[np.float64]  # [bins], share of correct predictions
    error: float  # the expected calibration error, a share


def calibrate(outcome: Classified) -> Calibration:
    """Compare the predicted probabilities with the share of correct predictions.

    The expected calibration error is the sum over the bins B_m of |B_m|/n · |acc(B_m) - conf(B_m)|,
    B_m holding the predictions with a confidence in ((m - 1)/M, m/M]: equations 2, 3 and 5 of
    C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On calibration of modern neural networks",
    ICML 2017 (arXiv 1706.04599), after M. P. Naeini, G. F. Cooper and M. Hauskrecht, "Obtaining
    well calibrated probabilities using Bayesian binning", AAAI 2015.
    """
    confidence = outcome.probabilities.max(axis=1).astype(np.float64)
    right = (outcome.predicted == outcome.truth).astype(np.float64)
    bin_of = np.clip(np.ceil(confidence * _BINS).astype(np.int64) - 1, 0, _BINS - 1)
    filled, places, count = np.unique(bin_of, return_inverse=True, return_counts=True)
    mean, accuracy = (np.bincount(places, values) / count for values in (confidence, right))
    error = float((count * np.abs(accuracy - mean)).sum() / count.sum())
    return Calibration(filled / _BINS, count, mean, accuracy, error)


def calibration_section(outcome: Classified) -> Section:
    """Show the reliability diagram and the number of predictions in each bin."""
    found = calibrate(outcome)
    high = int((outcome.probabilities.max(axis=1) > 1 - 1 / _BINS).sum())
    figures = zip(found.low, found.count, found.confidence, found.accuracy, strict=True)
    return Section(
        key="calibration",
        title="Calibration",
        text=(
            "Predictions are grouped by the probability of the predicted class. A bar below the "
            "diagonal means that the model is overconfident, above it underconfident. Bars with "
            f"few examples are not reliable. Expected calibration error: {100 * found.error:.2f} "
            f"percentage points over {_BINS} bins."
        ),
        alt=(
            f"Reliability diagram of {found.count.sum()} predictions, expected calibration error "
            f"{found.error:.4f}; {high} of them have a probability above {1 - 1 / _BINS:g}."
        ),
        draw=lambda: _draw_calibration(found),
        table=Table(
            ("Probability", "Examples", "Mean probability", "Share right"),
            tuple(
                (f"{low:.1f} to {low + 1 / _BINS:.1f}", str(n), f"{mean:.3f}", f"{share:.3f}")
                for low, n, mean, share in figures
            ),
        ),
    )


def _draw_calibration(found: Calibration) -> Figure:
    figure = Figure(figsize=(theme.WIDTH, 4.9))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    bars = {"width": 1 / _BINS, "align": "edge", "edgecolor": theme.PAPER}
    points = {"color": theme.ORANGE, "markeredgecolor": theme.PAPER}
    label = "share of correct predictions"
    upper.bar(found.low, found.accuracy, color=theme.BLUE, label=label, **bars)
    upper.plot([0, 1], [0, 1], color=theme.MUTED, linestyle="--", label="perfect calibration")
    label = "at the bin's mean probability"
    upper.plot(found.confidence, found.accuracy, "o", label=label, **points)
    upper.set(xlim=(0, 1), ylim=(0, 1.04), ylabel="accuracy")
    lower.bar(found.low, found.count, color=theme.MUTED, **bars)
    lower.set(xlabel="probability of the predicted class", ylabel="examples")
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    upper.legend(loc="upper left")
    return figure


def logistic_section(weights: NDArray[np.float32], labels: tuple[str, ...]) -> Section:
    """Show the weights, [h, w, c, classes], of each class as an image, one per color channel."""
    channels = weights.shape[2]
    names = [""] if channels == 1 else list(_CHANNELS[:channels])
    classes = range(min(weights.shape[3], _MAX_CLASSES))
    panels = [
        (f"{plain(labels[k], 10)} {name}".strip(), weights[:, :, channel, k])
        for k in classes
        for channel, name in enumerate(names)
    ]
    left_out = weights.shape[3] - len(classes)
    more = f" The first {len(classes)} classes; {left_out} more are not shown." if left_out else ""
    return Section(
        key="logistic_weights",
        title="Weights of each class",
        text=(
            "A light pixel is evidence for the class where the color is orange, and against it "
            "where it is blue; where the background shows, the pixel does not matter. All images "
            f"have the same scale.{more}"
        ),
        alt=f"Weights of {len(classes)} classes as images of {weights.shape[0]} x "
        f"{weights.shape[1]} cells, from {weights.min():.2g} to {weights.max():.2g}.",
        draw=lambda: _draw_weights(panels, 5 if channels == 1 else channels),
    )


def filters_section(filters: NDArray[np.float32]) -> Section:
    """Show each filter, [kh, kw, c, filters], as an image, averaged over the channels."""
    count = min(filters.shape[3], _MAX_FILTERS)
    means = filters.mean(axis=2)
    panels = [("", means[:, :, place]) for place in range(count)]
    return Section(
        key="first_filters",
        title="First-layer filters",
        text=(
            "The patterns that the first convolution responds to in each patch of the image: "
            "orange cells add, blue ones subtract. Edges and strokes indicate that the network has "
            "learned; noise that it has not."
            + (" Means over the color channels." if filters.shape[2] > 1 else "")
            + (f" The first {count} of {filters.shape[3]}." if count < filters.shape[3] else "")
        ),
        alt=f"{count} filters of {filters.shape[0]} x {filters.shape[1]} cells, weights from "
        f"{means.min():.2g} to {means.max():.2g}.",
        draw=lambda: _draw_weights(panels, 8),
    )


def _draw_weights(panels: list[tuple[str, NDArray[np.float32]]], columns: int) -> Figure:
    """Draw all panels into the same axes, which is much faster than axes for each."""
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    height, width = panels[0][1].shape
    gap = _GAP * max(height, width)
    above = gap + (_TITLE * max(height, width) if any(title for title, _ in panels) else 0)
    side = theme.WIDTH * rows * (height + above) / (columns * (width + gap))
    figure = Figure(figsize=(theme.WIDTH, side + 0.7))
    axes = figure.add_subplot()
    norm = CenteredNorm(0, max(float(np.abs(image).max()) for _, image in panels) or 1.0)
    for place, (title, image) in enumerate(panels):
        left, top = place % columns * (width + gap), place // columns * (height + above)
        where = (left, left + width, top + height, top)
        axes.imshow(image, cmap=theme.DIVERGING, norm=norm, interpolation="nearest", extent=where)
        axes.add_patch(
            Rectangle((left, top), width, height, fill=False, edgecolor=theme.GRID, linewidth=0.8)
        )
        axes.text(left + width / 2, top - gap / 2, title, ha="center")
    axes.set(
        xlim=(-gap / 2, columns * (width + gap) - gap / 2),
        ylim=(rows * (height + above) - above + gap / 2, gap / 2 - above),
        aspect="equal",
    )
    axes.set_axis_off()
    options: dict[str, Any] = {"location": "bottom", "aspect": 40, "fraction": 0.05, "pad": 0.02}
    bar = figure.colorbar(ScalarMappable(norm, theme.DIVERGING), ax=axes, **options)
    bar.set_label("weight", fontsize=theme.SMALL)
    bar.outline.set_edgecolor(theme.GRID)
    return figure
