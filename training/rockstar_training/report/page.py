"""The report of a run: a self-contained HTML file, and its figures as PNG files."""

import base64
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rockstar_contract.contract import ImageInput
from rockstar_training.errors import TrainingError
from rockstar_training.evaluation import majority_share, wilson
from rockstar_training.report import classification, figures, regression
from rockstar_training.report.card import metrics_in_words
from rockstar_training.report.data import Classified, Regressed, ReportData
from rockstar_training.report.theme import DARK, LIGHT, Section, png

REPORT_FILE = "report.html"
_TEMPLATE = "report.html.j2"


@dataclass(frozen=True)
class _Item:
    """A section with its figure in both themes, as data URLs; empty without a figure."""

    section: Section
    light: str = ""
    dark: str = ""


def write_report(data: ReportData, run_folder: Path) -> Path:
    """Write the report of a run.

    Args:
        data: the contents.
        run_folder: for report.html and a PNG for each figure; created if missing.

    Returns:
        The HTML file. It contains its images and refers to no other file.

    Raises:
        TrainingError: it cannot be written.
    """
    try:
        run_folder.mkdir(parents=True, exist_ok=True)
        items = []
        for section in sections(data):
            if section.draw is None:
                items.append(_Item(section))
                continue
            light = png(section.draw(LIGHT))
            (run_folder / f"{section.key}.png").write_bytes(light)
            if section.gallery:
                items.append(_Item(section))
            else:
                items.append(_Item(section, data_url(light), data_url(png(section.draw(DARK)))))
        report = run_folder / REPORT_FILE
        report.write_text(_render(data, items), encoding="utf-8")
    except OSError as error:
        raise TrainingError(f"cannot write the report to {run_folder}: {error}") from error
    return report


def sections(data: ReportData) -> list[Section]:
    """Create the sections of a report, in order."""
    labels, outcome = data.contract.labels, data.outcome
    found: list[Section | None]
    if isinstance(outcome, Regressed):
        metric = "R²"
        curves = figures.curves_section(data.history, "mean squared error")
        found = [*regression.regression_sections(outcome), curves]
    else:
        metric = "balanced accuracy"
        found = [
            figures.curves_section(data.history, "cross-entropy, in nats"),
            classification.confusion_section(outcome, labels),
            classification.mistakes_section(outcome, labels),
            classification.calibration_section(outcome),
        ]
    found.append(figures.importance_section(data.importance, metric))
    if data.logistic_weights is not None:
        found.append(figures.logistic_section(data.logistic_weights, labels))
    if data.first_filters is not None:
        found.append(figures.filters_section(data.first_filters))
    return [section for section in found if section is not None]


def data_url(image: bytes) -> str:
    """Encode a PNG as a data URL."""
    return f"data:image/png;base64,{base64.b64encode(image).decode()}"


def _render(data: ReportData, items: list[_Item]) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_url"] = data_url
    contract, outcome = data.contract, data.outcome
    source, _ = contract.training_data
    kind = "image" if isinstance(contract.input, ImageInput) else "row"
    origin = [
        ("Data", f"{source.name}, {source.examples} examples"),
        ("SHA-256 of the data", source.sha256),
        ("Input", f"{kind}, {contract.encoded.dtype} {list(contract.encoded.shape)}"),
        ("Created", f"{contract.created:%Y-%m-%d %H:%M} UTC"),
        ("Created with", contract.producer),
    ]
    return environment.get_template(_TEMPLATE).render(
        contract=contract,
        items=items,
        key_figures=key_figures(data),
        notes=data.notes,
        rows=outcome.rows if isinstance(outcome, Regressed) else "held-out examples",
        origin=origin,
        config={name.replace("_", " "): _setting(value) for name, value in data.config.items()},
        light=LIGHT,
        dark=DARK,
    )


def key_figures(data: ReportData) -> list[tuple[str, str]]:
    """List names and values of the main metrics, the most important one first."""
    outcome = data.outcome
    found: list[tuple[str, str]] = []
    if isinstance(outcome, Classified):
        truth, count = outcome.truth, len(outcome.truth)
        low, high = wilson(outcome.right, count)
        error = classification.calibrate(outcome).error
        found = [
            ("Accuracy", f"{outcome.right / count:.4f}"),
            ("95 % confidence interval", f"{low:.4f} to {high:.4f} (Wilson)"),
            ("Right", f"{outcome.right} of {count} held-out examples"),
            (
                "Accuracy of always predicting the most frequent label",
                f"{majority_share(truth):.4f}",
            ),
            ("Expected calibration error", f"{error:.4f}"),
        ]
    else:
        found += regression.key_figures(outcome)
    found += metrics_in_words(data.contract.metrics)
    if data.history:
        seconds = sum(epoch.seconds for epoch in data.history)
        found += [("Epochs", str(len(data.history))), ("Time in epochs", f"{seconds:.1f} s")]
    return found


def _setting(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
