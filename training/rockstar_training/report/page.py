"""The report of a run: a self-contained HTML file, and its figures as PNG files."""

import base64
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
from rockstar_training.evaluation import ColumnImportance, Predictor, TestPredictions, predict_part
from rockstar_training.prepared_data import Part, PreparedData
from rockstar_training.progress import Epoch
from rockstar_training.report import classification, regression
from rockstar_training.report.card import metrics_in_words
from rockstar_training.report.classification import Classified
from rockstar_training.report.regression import Descent, DescentPath, Regressed
from rockstar_training.report.theme import (
    DARK,
    LIGHT,
    WIDTH,
    Section,
    Table,
    Theme,
    new_plot,
    plain,
    png,
    render,
)

REPORT_FILE = "report.html"
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

    The HTML file contains its images and refers to no other file.

    Raises:
        TrainingError: it cannot be written.
    """
    try:
        run_folder.mkdir(parents=True, exist_ok=True)
        # Each section with its figure in both themes, as data URLs; "" without a figure.
        items = []
        for section in _sections(data):
            light = dark = ""
            if section.draw is not None:
                image = png(section.draw)
                (run_folder / f"{section.key}.png").write_bytes(image)
                if not section.gallery:
                    light, dark = _data_url(image), _data_url(png(section.draw, DARK))
            items.append((section, light, dark))
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

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(WIDTH, _PANEL_HEIGHT * len(panels)))
        rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        # A line through few points hides where they are.
        style: dict[str, Any] = {"marker": "o" if len(history) <= 12 else None, "markersize": 4}
        training = {"color": theme.first, "linestyle": "-", "label": "training"}
        validation = {"color": theme.second, "linestyle": "--", "label": "validation"}
        for axes, (title, names) in zip(rows, panels, strict=True):
            for name in names:
                style |= validation if name.startswith("val_") else training
                axes.plot(numbers, values[name], linewidth=1.8, **style)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            if title == "Accuracy":
                axes.yaxis.set_major_formatter(PercentFormatter(1.0))
            else:
                axes.set_ylim(bottom=0)
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
            "that were not trained on. Curves that diverge indicate overfitting."
        ),
        alt=f"Curves over {len(history)} epochs. At the end: {', '.join(final)}.",
        draw=draw,
    )


def _importance_section(columns: Sequence[ColumnImportance], metric: str) -> Section:
    """Plot the importance of a table's columns, largest first."""
    drawn = columns[:_MAX_COLUMNS]

    def draw(theme: Theme) -> Figure:
        figure, axes = new_plot(0.9 + 0.28 * len(drawn), f"drop in {metric}", "")
        places = range(len(drawn))
        means, spreads = zip(*((column.mean, column.std) for column in drawn), strict=True)
        style: dict[str, Any] = {"color": theme.first, "ecolor": theme.muted, "height": 0.65}
        axes.barh(places, means, xerr=spreads, **style)
        axes.axvline(0, color=theme.muted, linewidth=1)
        axes.set_yticks(places, [plain(column.name, 28) for column in drawn])
        axes.invert_yaxis()
        return figure

    more = f" The {_MAX_COLUMNS} most important ones are drawn." if drawn != columns else ""
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
    return f"data:image/png;base64,{base64.b64encode(image).decode()}"


def _render(data: ReportData, items: list[tuple[Section, str, str]]) -> str:
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
        light=LIGHT,
        dark=DARK,
    )


def _setting(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
