"""The model card: what a colleague has to know before using a model, in Markdown.

The headings follow M. Mitchell and others, "Model cards for model reporting", FAT* 2019. It says
only what the run itself can vouch for.
"""

from collections.abc import Mapping

import numpy as np

from rockstar_contract.contract import Contract, ImageInput, TableInput
from rockstar_contract.table_cells import date_text
from rockstar_contract.tables import CategoricalColumn, Column, NumericColumn
from rockstar_training.report import calibration, linear
from rockstar_training.report.confusion import score_table
from rockstar_training.report.data import Classified, Regressed
from rockstar_training.report.interval import wilson
from rockstar_training.report.section import Table
from rockstar_training.report.wording import in_words, metrics_in_words

# As a path of a version's extra files.
CARD_FILE = "assets.extra/model_card.md"
_GATEWAY = "http://127.0.0.1:8080"
# Features whose range is listed.
_RANGES = 12
# With fewer examples of a class, one of them changes its recall by more than two points.
_FEW = 50
# A most frequent class of this many times the rarest one.
_UNEVEN = 1.5


def model_card(
    contract: Contract,
    outcome: Classified | Regressed,
    config: Mapping[str, object] | None = None,
) -> str:
    """Write the card of a model.

    Args:
        contract: as published.
        outcome: what the model says of the held-out examples.
        config: of the run, setting by setting; its network is named from there.

    Returns:
        Markdown, ending in a newline.
    """
    parts = [
        f"# {contract.model}, version {contract.version}",
        _what_it_is(contract, outcome, config or {}),
        "## Data",
        _data(contract, outcome),
        "## Input",
        _input(contract),
        "## How good it is",
        _quality(contract, outcome),
        "## Limits",
        _bullets(_limits(contract, outcome)),
        "## How to call it",
        _call(contract),
    ]
    return "\n\n".join(parts) + "\n"


def _what_it_is(
    contract: Contract, outcome: Classified | Regressed, config: Mapping[str, object]
) -> str:
    network = f" (network: {_text(str(config['model']))})" if "model" in config else ""
    if isinstance(outcome, Regressed):
        does = f"predicts {_text(outcome.target)} from {_listed(outcome.feature_names)}"
    else:
        does = (
            f"says which of {len(contract.labels)} classes an example belongs to, with a "
            f"probability for each: {_listed(contract.labels)}"
        )
    return (
        f"This model{network} {does}.\n\n"
        f"Made {contract.created:%Y-%m-%d %H:%M} UTC by {_text(contract.producer)}."
    )


def _data(contract: Contract, outcome: Classified | Regressed) -> str:
    source, statistics = contract.training_data
    return _bullets(
        [
            f"Data set: {_text(source.name)}, {source.examples} examples.",
            f"SHA-256 over examples and labels: `{source.sha256}`.",
            f"Trained on {statistics.examples} of them. The figures below are of "
            f"{len(outcome.truth)} {_rows(outcome)}.",
        ]
    )


def _rows(outcome: Classified | Regressed) -> str:
    return linear.rows_of(outcome) if isinstance(outcome, Regressed) else "held-out examples"


def _input(contract: Contract) -> str:
    spec = contract.encoded
    if isinstance(spec, TableInput):
        columns = [f"- {_text(column.name)}: {_column(column)}" for column in spec.columns]
        return "\n".join(["A row with these columns:", "", *columns])
    low, high = spec.range
    steps = [f"{place}. {words}" for place, words in enumerate(in_words(spec.preprocessing), 1)]
    tensor = (
        f"The tensor `{spec.name}` is {spec.dtype} of shape {list(spec.shape)}, values from "
        f"{low:g} to {high:g}."
    )
    if not steps:
        return tensor
    first = "The service makes it from what is sent (training did the same):"
    return "\n".join([f"{tensor} {first}", "", *steps])


def _column(column: Column) -> str:
    if isinstance(column, CategoricalColumn):
        kind = f"one of {', '.join(map(_text, column.categories))}"
        kind += ", or other" if column.other else ""
        fill = "" if column.fill is None else _text(column.fill)
    elif isinstance(column, NumericColumn):
        kind = f"a number, standardised with mean {column.mean:.4g} and scale {column.scale:.4g}"
        fill = "" if column.fill is None else f"{column.fill:.4g}"
    else:
        kind, fill = "a date", date_text(column.fill)
    marked = " and marked as missing" if column.indicator else ""
    return kind + (f"; if missing, filled with {fill}{marked}" if fill else "")


def _quality(contract: Contract, outcome: Classified | Regressed) -> str:
    if isinstance(outcome, Regressed):
        return _markdown(Table(("Figure", "Value"), linear.key_figures(outcome)))
    count = len(outcome.truth)
    low, high = wilson(outcome.right, count)
    figures = (
        ("Accuracy", f"{outcome.right / count:.4f} ({outcome.right} of {count})"),
        ("95 % confidence interval (Wilson score)", f"{low:.4f} to {high:.4f}"),
        ("Expected calibration error", f"{calibration.calibrate(outcome).error:.4f}"),
        *metrics_in_words(contract.metrics),
    )
    return "\n\n".join(
        [
            _markdown(Table(("Figure", "Value"), figures)),
            "Precision is the share of what was given a label that has it, recall the share of "
            "what has a label that was given it, F1 their harmonic mean.",
            _markdown(score_table(outcome, contract.labels)),
        ]
    )


def _limits(contract: Contract, outcome: Classified | Regressed) -> list[str]:
    count = len(outcome.truth)
    source, statistics = contract.training_data
    known = [
        f"The figures hold for examples like those of {_text(source.name)}. They say "
        "nothing of images or rows that were made in another way.",
    ]
    if isinstance(outcome, Regressed):
        known.append(_range_limit(outcome))
        if count < _FEW:
            known.append(f"The figures are of only {count} examples, and rough.")
        return known
    low, high = wilson(outcome.right, count)
    known += [
        "It knows no other classes: whatever is sent, one of the labels comes back. A low "
        "probability is a hint, not a test, that the example is something else.",
        f"With {count} held-out examples the accuracy is known to about "
        f"{100 * (high - low) / 2:.1f} percentage points either way.",
    ]
    support = np.bincount(outcome.truth, minlength=len(contract.labels))
    if support.min() < _FEW:
        known.append(
            f"Small classes: {_text(contract.labels[int(support.argmin())])} has {support.min()} "
            "held-out examples, so its precision and recall are rough."
        )
    shares = statistics.label_share
    if shares and min(shares) > 0 and max(shares) / min(shares) > _UNEVEN:
        known.append(
            f"Uneven training data: {_text(contract.labels[int(np.argmax(shares))])} is "
            f"{max(shares) / min(shares):.1f} times as frequent as "
            f"{_text(contract.labels[int(np.argmin(shares))])}. Where the classes are distributed "
            "otherwise, so are its mistakes."
        )
    if isinstance(contract.input, ImageInput) and contract.input.preprocessing:
        known.append(
            "The steps above are assumptions about what is sent: an image for which one of them "
            "goes wrong is likely to be classified wrong, whatever the probability."
        )
    return known


def _range_limit(outcome: Regressed) -> str:
    low, high = outcome.features.min(axis=0), outcome.features.max(axis=0)
    ranges = [
        f"{_text(name)} {least:.4g} to {most:.4g}"
        for name, least, most in zip(outcome.feature_names, low, high, strict=True)
    ]
    more = f" and {len(ranges) - _RANGES} more" if len(ranges) > _RANGES else ""
    return (
        f"It was measured where the features were ({', '.join(ranges[:_RANGES])}{more}); beyond "
        "that it extrapolates."
    )


def _call(contract: Contract) -> str:
    url = f"{_GATEWAY}/predict/{contract.model}"
    if isinstance(contract.input, ImageInput):
        call = f"curl -F image=@example.png {url}"
    else:
        call = f"curl -H 'Content-Type: text/csv' --data-binary @rows.csv {url}"
    return f"With `rockstar serve` running:\n\n```sh\n{call}\n```"


def _markdown(table: Table) -> str:
    align = ["---", *("---:" for _ in table.head[1:])]
    rows = [table.head, tuple(align), *table.rows]
    return "\n".join(
        f"| {' | '.join(_text(cell) if row is not rows[1] else cell for cell in row)} |"
        for row in rows
    )


def _listed(names: tuple[str, ...], most: int = 20) -> str:
    told = ", ".join(map(_text, names[:most]))
    return told if len(names) <= most else f"{told} and {len(names) - most} more"


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _text(text: str) -> str:
    """A name from outside as plain text: Markdown and HTML in it mean nothing."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{sign}" if sign in "\\`*_[]|#" else sign for sign in text)
