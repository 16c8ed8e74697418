"""The model card: what users should know about a model, in Markdown.

The headings follow M. Mitchell and others, "Model cards for model reporting", FAT* 2019. The card
contains only what the run itself can vouch for.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath

import msgspec
import numpy as np

from rockstar_contract.contract import Contract, ImageInput, TableInput
from rockstar_contract.table_cells import date_text
from rockstar_contract.tables import CategoricalColumn, Column, NumericColumn
from rockstar_training.evaluation import wilson
from rockstar_training.prepared_data import name_first
from rockstar_training.report import classification, regression
from rockstar_training.report.classification import Classified
from rockstar_training.report.regression import Regressed
from rockstar_training.report.theme import Table

# Path of the card in the folder of a version.
CARD_FILE = PurePosixPath("assets.extra/model_card.md")
_GATEWAY = "http://127.0.0.1:8080"
# Features whose range is listed, and names that are listed.
_RANGES, _NAMES = 12, 20
# With fewer examples of a class, a single one changes its recall by more than two points.
_FEW = 50
# Classes are unevenly distributed if the most frequent one has this many times the examples of the
# rarest one.
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
    if isinstance(outcome, Regressed):
        task = f"predicts {_text(outcome.target)} from {_listed(outcome.feature_names)}"
        rows = outcome.rows
    else:
        task = (
            f"predicts which of {len(contract.labels)} classes an example belongs to, with a "
            f"probability for each: {_listed(contract.labels)}"
        )
        rows = "held-out examples"
    source, statistics = contract.training_data
    url = f"{_GATEWAY}/predict/{contract.model}"
    if isinstance(contract.input, ImageInput):
        call = f"curl -F image=@example.png {url}"
    else:
        call = f"curl -H 'Content-Type: text/csv' --data-binary @rows.csv {url}"
    parts = [
        f"# {contract.model}, version {contract.version}",
        f"This model (network: {network}) {task}.",
        f"Created {contract.created:%Y-%m-%d %H:%M} UTC with {_text(contract.producer)}.",
        "## Data",
        _bullets(
            [
                f"Data set: {_text(source.name)}, {source.examples} examples.",
                f"SHA-256 of examples and labels: `{source.sha256}`.",
                f"Trained on {statistics.examples} of them. The metrics below were measured on "
                f"{len(outcome.truth)} {rows}.",
            ]
        ),
        "## Input",
        _input(contract),
        "## Metrics",
        _metrics(contract, outcome),
        "## Limitations",
        _bullets(_limitations(contract, outcome)),
        "## Usage",
        f"With `rockstar serve` running:\n\n```sh\n{call}\n```",
    ]
    return "\n\n".join(parts) + "\n"


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


def _input(contract: Contract) -> str:
    spec = contract.encoded
    if isinstance(spec, TableInput):
        columns = [f"- {_text(column.name)}: {_column(column)}" for column in spec.columns]
        return "\n".join(["A row with these columns:", "", *columns])
    low, high = spec.range
    lines = [
        f"{number}. {_STEPS[type(step).__name__].format(**msgspec.structs.asdict(step))}"
        for number, step in enumerate(spec.preprocessing, start=1)
    ]
    tensor = (
        f"The tensor `{spec.name}` is {spec.dtype} of shape {list(spec.shape)}, with values from "
        f"{low:g} to {high:g}."
    )
    if not lines:
        return tensor
    first = "The service computes it from the request, exactly as training did:"
    return "\n".join([f"{tensor} {first}", "", *lines])


def _column(column: Column) -> str:
    if isinstance(column, CategoricalColumn):
        kind = f"one of {', '.join(map(_text, column.categories))}"
        kind += ", or other" if column.other else ""
        fill = "" if column.fill is None else _text(column.fill)
    elif isinstance(column, NumericColumn):
        kind = f"a number, standardized with mean {column.mean:.4g} and scale {column.scale:.4g}"
        fill = "" if column.fill is None else f"{column.fill:.4g}"
    else:
        kind, fill = "a date", date_text(column.fill)
    marked = " and marked as missing" if column.indicator else ""
    return kind + (f"; if missing, filled with {fill}{marked}" if fill else "")


def key_figures_of(outcome: Classified | Regressed) -> tuple[tuple[str, str], ...]:
    """List names and values of the main metrics, the most important one first."""
    if isinstance(outcome, Regressed):
        return regression.key_figures(outcome)
    return classification.key_figures(outcome)


def _metrics(contract: Contract, outcome: Classified | Regressed) -> str:
    rows = key_figures_of(outcome)
    if isinstance(outcome, Regressed):
        return _markdown(Table(("Metric", "Value"), rows))
    rows = (*rows, *metrics_in_words(contract.metrics))
    return "\n\n".join(
        [
            _markdown(Table(("Metric", "Value"), rows)),
            "Precision is the share of the predictions of a label that are correct, recall the "
            "share of the examples of a label that are predicted as it, F1 their harmonic mean.",
            _markdown(classification.score_table(outcome, contract.labels)),
        ]
    )


def _limitations(contract: Contract, outcome: Classified | Regressed) -> list[str]:
    count = len(outcome.truth)
    source, statistics = contract.training_data
    known = [
        f"The metrics are valid for examples like those of {_text(source.name)}, not for images "
        "or rows from other sources."
    ]
    if isinstance(outcome, Regressed):
        low, high = outcome.features.min(axis=0), outcome.features.max(axis=0)
        ranges = [
            f"{_text(name)} {least:.4g} to {most:.4g}"
            for name, least, most in zip(outcome.feature_names, low, high, strict=True)
        ]
        known.append(
            f"The features were measured in these ranges: {name_first(ranges, _RANGES)}. Beyond "
            "them the model extrapolates."
        )
        if count < _FEW:
            known.append(f"Only {count} examples were measured, so the metrics are imprecise.")
        return known
    low, high = wilson(outcome.right, count)
    known += [
        "The model knows no other classes: it predicts one of the labels for any input. A low "
        "probability is a hint, but no test, that the example is something else.",
        f"With {count} held-out examples the accuracy is known to within about "
        f"{100 * (high - low) / 2:.1f} percentage points.",
    ]
    support = np.bincount(outcome.truth, minlength=len(contract.labels))
    if support.min() < _FEW:
        known.append(
            f"Small classes: {_text(contract.labels[int(support.argmin())])} has {support.min()} "
            "held-out examples, so its precision and recall are imprecise."
        )
    shares = statistics.label_share
    if shares and min(shares) > 0 and max(shares) / min(shares) > _UNEVEN:
        known.append(
            f"Uneven training data: {_text(contract.labels[int(np.argmax(shares))])} is "
            f"{max(shares) / min(shares):.1f} times as frequent as "
            f"{_text(contract.labels[int(np.argmin(shares))])}. If the classes are distributed "
            "differently in use, so are the mistakes."
        )
    if isinstance(contract.input, ImageInput) and contract.input.preprocessing:
        known.append(
            "The preprocessing steps make assumptions about images. If one of them fails for an "
            "image, the prediction is probably wrong, whatever its probability."
        )
    return known


def _markdown(table: Table) -> str:
    rows = [" | ".join(map(_text, row)) for row in (table.head, *table.rows)]
    rows.insert(1, " | ".join(["---", *("---:" for _ in table.head[1:])]))
    return "\n".join(f"| {row} |" for row in rows)


def _listed(names: tuple[str, ...]) -> str:
    return name_first([*map(_text, names)], _NAMES)


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _text(text: str) -> str:
    """Escape a name, so that Markdown and HTML in it have no effect."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{sign}" if sign in "\\`*_[]|#" else sign for sign in text)
