"""The model card: what users should know about a model, in Markdown.

The headings follow M. Mitchell and others, "Model cards for model reporting", FAT* 2019. The card
contains only what the run itself can vouch for.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import msgspec
import numpy as np

from rockstar_contract.contract import Contract, ImageInput
from rockstar_contract.errors import name_first
from rockstar_contract.tables import CategoricalColumn, Column, NumericColumn
from rockstar_training.evaluation import wilson
from rockstar_training.report.classification import Classified, score_table
from rockstar_training.report.regression import Regressed
from rockstar_training.report.theme import Table, render

# Path of the card in the folder of a version.
CARD_FILE = PurePosixPath("assets.extra/model_card.md")
_TEMPLATE = "model_card.md.j2"
# Features whose range is listed, and names that are listed.
_RANGES, _NAMES = 12, 20
# With fewer examples of a class, a single one changes its recall by more than two points.
_FEW = 50
# Classes are unevenly distributed if the largest has this many times the examples of the smallest.
_UNEVEN = 1.5
_SHORT = {"f1": "F1", "auc": "area under the ROC curve", "r2": "R²", "rmse": "RMSE"}
_METRICS = {
    "test_balanced_accuracy": "Balanced accuracy (mean recall of the classes)",
    "test_f1": "F1 (mean over the classes)",
    "test_auc": "Area under the ROC curve (mean over the classes)",
    "test_loss": "Loss on held-out examples",
    "test_r2": "R² on held-out examples",
    "test_rmse": "Root mean squared error on held-out examples",
    "train_accuracy": "Accuracy on training examples",
    "train_loss": "Loss on training examples",
    "train_r2": "R² on training examples",
    "train_rmse": "Root mean squared error on training examples",
}
# The steps of rockstar_contract.preprocessing; names in braces are their parameters.
_STEPS = {
    "Grey": "Colors are converted to gray (luma as in ITU-R BT.601).",
    "IsolateStrokes": "In photographs of more than {small} pixels, the strokes are separated from "
    "paper and surroundings.",
    "Scale": "Pixel values of 0 to {maximum:g} are scaled to 0 to 1.",
    "StretchContrast": "The contrast is stretched: the darkest value becomes 0, the lightest 1.",
    "TrimFrame": "An even frame of up to {share:.0%} of the shorter side is cut off.",
    "InvertIfLight": "An image with a light border is inverted, so that ink is always light on a "
    "dark background.",
    "SuppressBackground": "Values up to {level:g} become background, and the rest is rescaled to "
    "0 to 1.",
    "Colour": "Gray images are converted to color, with equal channels.",
    "SuppressBorder": "Values up to the usual level of the border become background.",
    "CropToContent": "The image is cropped to the smallest box that contains all values above "
    "{threshold:g}.",
    "Fit": "It is resized to fit within {height} x {width}, keeping its aspect ratio.",
    "Resize": "It is resized to {height} x {width}, ignoring its aspect ratio.",
    "CentreOnCell": "It is placed on a dark canvas of {height} x {width}, its center of mass in "
    "the cell right below the middle.",
    "Centre": "It is placed on a dark canvas of {height} x {width}, its center of mass in the "
    "middle.",
}


def model_card(contract: Contract, outcome: Classified | Regressed, network: str) -> str:
    """Write the card of a model, of this type of network, in Markdown."""
    spec, count = contract.encoded, len(outcome.truth)
    source, statistics = contract.training_data
    values: dict[str, Any] = {"metrics": Table(("Metric", "Value"), outcome.key_figures())}
    if isinstance(outcome, Regressed):
        low, high = outcome.features.min(axis=0), outcome.features.max(axis=0)
        ranges = [
            f"{_text(name)} {least:.4g} to {most:.4g}"
            for name, least, most in zip(outcome.feature_names, low, high, strict=True)
        ]
        values |= {"ranges": name_first(ranges, _RANGES), "few": _FEW}
    else:
        labels, shares = contract.labels, statistics.label_share
        low, high = wilson(outcome.right, count)
        support = np.bincount(outcome.truth, minlength=len(labels))
        rows = (*outcome.key_figures(), *metrics_in_words(contract.metrics))
        values["metrics"] = Table(("Metric", "Value"), rows)
        values["scores"] = score_table(outcome, labels)
        values["margin"] = 100 * (high - low) / 2
        if support.min() < _FEW:
            values["smallest"] = (labels[int(support.argmin())], support.min())
        if min(shares) > 0 and max(shares) / min(shares) > _UNEVEN:
            most, least = labels[int(np.argmax(shares))], labels[int(np.argmin(shares))]
            values["uneven"] = (most, max(shares) / min(shares), least)
    if isinstance(spec, ImageInput):
        values["steps"] = [
            _STEPS[type(step).__name__].format(**msgspec.structs.asdict(step))
            for step in spec.preprocessing
        ]
    else:
        values["columns"] = spec.columns
    filters: dict[str, Any] = {
        "text": _text,
        "listed": lambda names: name_first([*map(_text, names)], _NAMES),
        "column": _column,
        "table": _markdown,
    }
    return render(
        _TEMPLATE,
        filters,
        contract=contract,
        outcome=outcome,
        regression=isinstance(outcome, Regressed),
        network=network,
        input=spec,
        source=source,
        statistics=statistics,
        count=count,
        **values,
    )


def metrics_in_words(metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    """Format all metrics except the headline; a mean is followed by its standard deviation."""
    rows = []
    for name, value in metrics.items():
        if name == "test_accuracy" or name.endswith("_std"):
            continue
        if f"{name}_std" in metrics:
            words = name.removeprefix("cv_").replace("_", " ")
            words = f"Cross-validation, {_SHORT.get(words, words)}"
            rows.append((words, f"{value:.4g} ± {metrics[f'{name}_std']:.2g}"))
        else:
            words = _METRICS.get(name, name.replace("_", " ").capitalize())
            rows.append((words, f"{value:.6g}"))
    return rows


def _column(column: Column) -> str:
    if isinstance(column, CategoricalColumn):
        kind = f"one of {', '.join(map(_text, column.categories))}"
        kind += ", or other" if column.other else ""
        fill = "" if column.fill is None else _text(column.fill)
    elif isinstance(column, NumericColumn):
        kind = f"a number, standardized with mean {column.mean:.4g} and scale {column.scale:.4g}"
        fill = "" if column.fill is None else f"{column.fill:.4g}"
    else:
        kind, fill = column.noun, column.text(column.fill)
    marked = " and marked as missing" if column.indicator else ""
    return kind + (f"; if missing, filled with {fill}{marked}" if fill else "")


def _markdown(table: Table) -> str:
    rows = [" | ".join(map(_text, row)) for row in (table.head, *table.rows)]
    rows.insert(1, " | ".join(["---", *("---:" for _ in table.head[1:])]))
    return "\n".join(f"| {row} |" for row in rows)


def _text(text: str) -> str:
    """Escape a name, so that Markdown and HTML in it have no effect."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{sign}" if sign in "\\`*_[]|#" else sign for sign in text)
