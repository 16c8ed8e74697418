"""The report of a run: a self-contained HTML file, and its figures as PNG files."""

import base64
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite, log, prod
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from rockstar_contract.contract import Contract, ImageInput, TableInput
from rockstar_contract.images import decode_image, ignore_warnings
from rockstar_contract.tables import CategoricalColumn
from rockstar_training.errors import TrainingError
from rockstar_training.evaluation import (
    MAX_COLUMNS,
    ColumnImportance,
    Predictor,
    TestPredictions,
    predict_part,
)
from rockstar_training.networks import LayerSize
from rockstar_training.prepared_data import Part, PreparedData
from rockstar_training.progress import Epoch
from rockstar_training.report import classification, regression, theme
from rockstar_training.report.card import metrics_in_words
from rockstar_training.report.classification import Classified
from rockstar_training.report.regression import Descent, DescentPath, Regressed
from rockstar_training.report.theme import Section, Table, new_plot, plain, png, render
from rockstar_training.runs import REPORT_FILE, SCORES, Run

_TEMPLATE = "report.html.j2"
# Rows of a regression that are plotted.
_PLOTTED = 5000
# A regression with fewer held-out rows than this is shown with its training rows, too.
_MIN_HELD_OUT = 10
_PANEL_HEIGHT = 2.1
# The panels of the learning curves: title and fields of Epoch, the training metric first.
_PANELS = (
    ("Loss", ("loss", "val_loss")),
    ("Accuracy", ("accuracy", "val_accuracy")),
    ("Learning rate", ("learning_rate",)),
)
# Validation losses that end above the lowest one times this indicate overfitting.
_OVERFIT = 1.25
# Largest value divided by the smallest from which an axis is logarithmic.
_LOGARITHMIC = 30
# Boxes of the diagram of a network, and layers that are drawn with the one before.
_MAX_BOXES = 24
_JOINED = ("Activation", "BatchNormalization", "Dropout", "PReLU", "ReLU", "Rescaling")
# Accuracies on MNIST of the lecture that goes from a linear model to convolutional networks.
LECTURE = {"logistic": "0.9082", "mlp": "0.5569", "cnn": "0.9815"}
# Columns whose importance is drawn.
_MAX_COLUMNS = 20


@dataclass(frozen=True, eq=False, kw_only=True)
class ReportData:
    """Everything that a report shows."""

    contract: Contract  # as published
    config: Mapping[str, object]  # settings of the run
    outcome: Classified | Regressed  # predictions for the held-out examples
    history: Sequence[Epoch]
    kernel: NDArray[np.float32]  # weights of the first layer
    layers: Sequence[LayerSize]
    earlier: Sequence[Run]  # on the same data, newest first
    importance: Sequence[ColumnImportance]  # of a table's columns, largest first; may be empty
    notes: Sequence[str]  # sentences about the data and the training


def outcome_of(
    data: PreparedData, test: TestPredictions, predictor: Predictor, path: DescentPath | None = None
) -> Classified | Regressed:
    """Describe the predictions for the held-out examples.

    A regression with hardly any held-out rows is described on its training rows, too.
    """
    spec = data.input
    if data.task == "classification" or not isinstance(spec, TableInput):
        load = partial(_load_image, data.test) if isinstance(spec, ImageInput) else None
        return Classified(test.truth, test.outputs, load)
    parts = [(data.test, test.outputs)]
    held_out = data.test.count >= _MIN_HELD_OUT
    if not held_out:
        parts.append((data.train, predict_part(predictor, data.train)))
    some = [(part, outputs, np.arange(min(part.count, _PLOTTED))) for part, outputs in parts]
    features = np.concatenate([part.tensors(rows) for part, _, rows in some]).astype(np.float64)
    start = 0
    for column in spec.columns:  # undo the standardization
        if not isinstance(column, CategoricalColumn):
            features[:, start] = features[:, start] * column.scale + column.mean
        start += column.width
    descent = None
    if path is not None:
        x = data.train.tensors(np.arange(data.train.count)).astype(np.float64)[:, 0]
        y, points = data.train.targets.astype(np.float64), np.array(path.points)
        descent = Descent(x, y, points, path.column.mean, path.column.scale)
    truth = np.concatenate([part.targets[rows] for part, _, rows in some])
    predicted = np.concatenate([outputs[rows, 0] for _, outputs, rows in some])
    return Regressed(
        truth=truth.astype(np.float64),
        predicted=predicted.astype(np.float64),
        features=features,
        feature_names=tuple(name for column in spec.columns for name in column.features),
        target=data.target or "target",
        descent=descent,
        held_out=held_out,
    )


def _load_image(part: Part, row: int) -> NDArray[np.uint8]:
    raw = part.raw(row)
    if not isinstance(raw, bytes):
        raise TypeError("expected the bytes of an image")
    with warnings.catch_warnings():
        ignore_warnings()
        return decode_image(raw)


def write_report(data: ReportData, run_folder: Path) -> None:
    """Write report.html, and a PNG for each figure, into the folder of a run.

    The HTML file contains its images and refers to no other file. Raises a TrainingError if it
    cannot be written.
    """
    try:
        run_folder.mkdir(parents=True, exist_ok=True)
        # Each section with its figure as a PNG; None without a figure.
        items = []
        for section in _sections(data):
            image = None if section.draw is None else png(section.draw)
            if image is not None:
                (run_folder / f"{section.key}.png").write_bytes(image)
            items.append((section, image))
        # Names of files may not be UTF-8.
        path, text = run_folder / REPORT_FILE, _render(data, items)
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise TrainingError(f"cannot write the report to {run_folder}: {error}") from error


def _sections(data: ReportData) -> list[Section]:
    """Create the sections of a report, in order."""
    labels, outcome, kernel = data.contract.labels, data.outcome, data.kernel
    if isinstance(outcome, Regressed):
        curves = _curves_section(data.history, "mean squared error")
        found = [*regression.regression_sections(outcome), curves]
    else:
        found = [
            _curves_section(data.history, "cross-entropy, in nats"),
            classification.confusion_section(outcome, labels),
            classification.mistakes_section(outcome, labels),
            classification.calibration_section(outcome),
        ]
    found.append(_network_section(data.layers))
    if comparison := _comparison_section(data):
        found.append(comparison)
    if data.importance:
        metric = "R²" if isinstance(outcome, Regressed) else "balanced accuracy"
        found.append(_importance_section(data.importance, metric))
    if isinstance(data.contract.input, ImageInput):
        if data.config["model"] == "logistic":
            weights = kernel.reshape(*data.contract.input.shape, len(labels))
            found.append(classification.logistic_section(weights, labels))
        # A backbone may start with another layer than a convolution.
        elif data.config["model"] == "cnn" and kernel.ndim == 4:
            found.append(classification.filters_section(kernel))
    return found


def _curves_section(history: Sequence[Epoch], loss: str) -> Section:
    """Plot loss, accuracy and learning rate against the epoch; `loss` names function and unit."""
    numbers = [epoch.number for epoch in history]
    # float64 [epochs], NaN for None.
    values = {
        name: np.array([getattr(epoch, name) for epoch in history], np.float64)
        for _, fields in _PANELS
        for name in fields
    }
    panels = [
        (title, names)
        for title, fields in _PANELS
        if (names := [name for name in fields if np.isfinite(values[name]).any()])
    ]
    final = [
        f"{'validation' if name.startswith('val_') else 'training'} {title.lower()} "
        f"{values[name][-1]:.4g}"
        for title, names in panels[:-1]
        for name in names
    ]

    best = best_epoch(history)

    def draw() -> Figure:
        figure = Figure(figsize=(theme.WIDTH, _PANEL_HEIGHT * len(panels)))
        rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        # A line through few points hides where they are.
        style: dict[str, Any] = {"marker": "o" if len(history) <= 12 else None, "markersize": 4}
        training = {"color": theme.BLUE, "linestyle": "-", "label": "training"}
        validation = {"color": theme.ORANGE, "linestyle": "--", "label": "validation"}
        for axes, (title, names) in zip(rows, panels, strict=True):
            for name in names:
                style |= validation if name.startswith("val_") else training
                axes.plot(numbers, values[name], linewidth=1.8, **style)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            if title == "Accuracy":
                axes.yaxis.set_major_formatter(PercentFormatter(1.0))
            elif title == "Loss" and _spans(np.concatenate([values[name] for name in names])):
                axes.set_yscale("log")
            else:
                axes.set_ylim(bottom=0)
            if best is not None and title == "Loss":
                style = {"color": theme.MUTED, "linestyle": ":", "label": f"best: epoch {best}"}
                axes.axvline(best, linewidth=1.2, **style)
            axes.set_title(title, loc="left")
            if title != "Learning rate":
                axes.legend()
        rows[-1].set_xlabel("epoch")
        return figure

    return Section(
        key="learning_curves",
        title="Learning curves",
        text=(
            f"The loss is the {loss}. Training values are means over the epoch, with augmentation "
            "and dropout if used; validation is measured at the end of the epoch, on examples "
            f"that were not trained on. {overfitting(history)}"
        ),
        alt=f"Curves over {len(history)} epochs. At the end: {', '.join(final)}.",
        draw=draw,
    )


def best_epoch(history: Sequence[Epoch]) -> int | None:
    """Return the epoch with the lowest validation loss; None without validation."""
    known = [epoch for epoch in history if epoch.val_loss is not None and isfinite(epoch.val_loss)]
    return min(known, key=lambda epoch: epoch.val_loss or 0.0).number if known else None


def overfitting(history: Sequence[Epoch]) -> str:
    """Say whether the validation loss rose while the training loss fell, and from which epoch."""
    best = best_epoch(history)
    if best is None:
        return "Without validation data, overfitting cannot be seen."
    lowest, last = history[best - history[0].number], history[-1]
    low, end = lowest.val_loss or 0.0, last.val_loss or 0.0
    figures = f"{low:.3g} after epoch {best}"
    if best >= last.number:
        return (
            f"The validation loss was lowest at the end ({figures}): no overfitting, and more "
            "epochs might still improve the model."
        )
    if end > _OVERFIT * low and last.loss < lowest.loss:
        return (
            f"The network overfits: the validation loss was lowest with {figures}, and rose to "
            f"{end:.3g} by epoch {last.number}, while the training loss fell from "
            f"{lowest.loss:.3g} to {last.loss:.3g}. Fewer epochs, --patience, more data or "
            "augmentation help."
        )
    return (
        f"No overfitting: the validation loss was lowest with {figures} and is {end:.3g} at the "
        "end."
    )


def _spans(values: NDArray[np.float64]) -> bool:
    """Whether values need a logarithmic axis, which leaves out those that are 0."""
    known = values[np.isfinite(values) & (values > 0)]
    return bool(known.size and known.max() / known.min() > _LOGARITHMIC)


def _network_section(layers: Sequence[LayerSize]) -> Section:
    """Draw the layers as a stack, and list their parameters and multiply-adds."""
    # Layers that keep the shape and have no weights of their own share a box.
    boxes: list[list[LayerSize]] = []
    for layer in layers:
        joins = boxes and layer.shape == boxes[-1][-1].shape and layer.kind in _JOINED
        if joins:
            boxes[-1].append(layer)
        else:
            boxes.append([layer])
    shown = boxes[-_MAX_BOXES:]
    parameters, adds = (
        sum(getattr(layer, name) for layer in layers) for name in ("parameters", "multiply_adds")
    )

    def draw() -> Figure:
        figure = Figure(figsize=(theme.WIDTH, 0.3 + 0.42 * len(shown)))
        axes = figure.add_subplot()
        axes.set_axis_off()
        most = max(prod(box[-1].shape) for box in shown)
        for place, box in enumerate(shown):
            width = 0.15 + 0.85 * log(1 + prod(box[-1].shape)) / log(1 + most)
            axes.barh(-place, width, 0.62, -width / 2, color=theme.BLUE, alpha=0.35)
            names = plain(" → ".join(layer.name for layer in box), 40)
            size = " × ".join(map(str, box[-1].shape))
            axes.text(0, -place, names, ha="center", va="center")
            axes.text(0.56, -place, size, va="center", color=theme.MUTED)
        axes.set(xlim=(-0.52, 0.9), ylim=(-len(shown) + 0.4, 0.6))
        return figure

    more = f" Only the last {_MAX_BOXES} are drawn." if shown != boxes else ""
    return Section(
        key="network",
        title="Network",
        text=(
            f"Parameters: {parameters:,}. Multiply-adds for each example, in convolutions and "
            f"dense layers: {adds:,}. From the input above to the output below: the width of a box "
            f"grows with the number of values, which stands beside it.{more}"
        ),
        alt="; ".join(
            f"{layer.name}: {' × '.join(map(str, layer.shape))}" for box in shown for layer in box
        ),
        draw=draw,
        table=Table(
            ("Layer", "Kind", "Output", "Parameters", "Multiply-adds"),
            (
                *(
                    (
                        *(layer.name, layer.kind, " × ".join(map(str, layer.shape))),
                        *(f"{layer.parameters:,}", f"{layer.multiply_adds:,}"),
                    )
                    for layer in layers
                ),
                ("all", "", "", f"{parameters:,}", f"{adds:,}"),
            ),
        ),
    )


def _comparison_section(data: ReportData) -> Section | None:
    """Compare with the newest runs on the same data and, for MNIST, with the lecture's figures."""
    metrics = data.contract.metrics
    name = next((name for name in SCORES if name in metrics), None)
    if name is None:
        return None
    title = SCORES[name]
    rows = [("this run", str(data.config["model"]), f"{metrics[name]:.4f}", str(len(data.history)))]
    rows += [
        (run.id, run.model, f"{run.score:.4f}", str(run.epochs))
        for run in data.earlier
        if run.metric == title and run.score is not None
    ]
    text = f"The newest runs on the same data, by {title} on held-out examples."
    if data.config["data"] == "mnist":
        rows += [(f"the lecture's {model}", model, score, "–") for model, score in LECTURE.items()]
        text += " The lecture's figures are for MNIST's test images, too."
    if len(rows) == 1:
        return None
    ranked = sorted(rows, key=lambda row: -float(row[2]))
    shown = [(row[0], float(row[2])) for row in ranked]

    def draw() -> Figure:
        figure, axes = new_plot(0.7 + 0.28 * len(shown), title, "")
        colors = [theme.ORANGE if name == "this run" else theme.BLUE for name, _ in shown]
        axes.barh(range(len(shown)), [score for _, score in shown], 0.65, color=colors)
        axes.set_yticks(range(len(shown)), [plain(name, 28) for name, _ in shown])
        axes.invert_yaxis()
        # Differences between good models are small.
        lowest = min(score for _, score in shown)
        axes.set_xlim(left=max(0, lowest - (1 - lowest)) if lowest > 0.5 else min(0, lowest))
        axes.set_xticks([tick for tick in axes.get_xticks() if tick <= 1])
        for place, (_, score) in enumerate(shown):
            axes.text(score, place, f" {score:.4f}", va="center")
        return figure

    return Section(
        key="comparison",
        title="Comparison",
        text=text,
        alt="; ".join(f"{name}: {score:.4f}" for name, score in shown),
        draw=draw,
        table=Table(("Run", "Network", title[0].upper() + title[1:], "Epochs"), tuple(ranked)),
    )


def _importance_section(columns: Sequence[ColumnImportance], metric: str) -> Section:
    """Plot the importance of a table's columns, largest first."""
    drawn = columns[:_MAX_COLUMNS]

    def draw() -> Figure:
        figure, axes = new_plot(0.9 + 0.28 * len(drawn), f"drop in {metric}", "")
        places = range(len(drawn))
        means, spreads = zip(*((column.mean, column.std) for column in drawn), strict=True)
        style: dict[str, Any] = {"color": theme.BLUE, "ecolor": theme.MUTED, "height": 0.65}
        axes.barh(places, means, xerr=spreads, **style)
        axes.axvline(0, color=theme.MUTED, linewidth=1)
        axes.set_yticks(places, [plain(column.name, 28) for column in drawn])
        axes.invert_yaxis()
        return figure

    more = f" The {_MAX_COLUMNS} most important ones are drawn." if drawn != columns else ""
    if len(columns) == MAX_COLUMNS:
        more += f" At most {MAX_COLUMNS} are measured: those that vary most with the predictions."
    return Section(
        key="importance",
        title="Importance of the columns",
        text=(
            f"The drop in {metric} on held-out rows when the values of one column are shuffled: "
            "mean and standard deviation of several shuffles. Columns with the same information "
            f"share their importance, so each of them may seem unimportant.{more}"
        ),
        alt=f"Bars of {len(drawn)} columns; the longest is {drawn[0].name}, {drawn[0].mean:.3f}.",
        draw=draw,
        table=Table(
            ("Column", "Mean", "Standard deviation"),
            tuple((c.name, f"{c.mean:.4f}", f"{c.std:.4f}") for c in columns),
        ),
    )


def _data_url(image: bytes) -> str:
    kind = "webp" if image.startswith(b"RIFF") else "png"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def _render(data: ReportData, items: list[tuple[Section, bytes | None]]) -> str:
    contract, outcome = data.contract, data.outcome
    seconds = sum(epoch.seconds for epoch in data.history)
    key_figures = [
        *outcome.key_figures(),
        *metrics_in_words(contract.metrics),
        ("Epochs", str(len(data.history))),
        ("Time in epochs", f"{seconds:.1f} s"),
    ]
    return render(
        _TEMPLATE,
        {"data_url": _data_url},
        contract=contract,
        items=items,
        key_figures=key_figures,
        notes=data.notes,
        rows=outcome.rows,
        kind="image" if isinstance(contract.input, ImageInput) else "row",
        config={name.replace("_", " "): _setting(value) for name, value in data.config.items()},
    )


def _setting(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
