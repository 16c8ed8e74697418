"""The report of a run: one HTML file that needs nothing else, and its figures as PNG files."""

import base64
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rockstar_contract.contract import Contract, ImageInput
from rockstar_training.errors import TrainingError
from rockstar_training.evaluation import majority_share
from rockstar_training.report import (
    calibration,
    confusion,
    curves,
    importance,
    linear,
    mistakes,
    surface,
    weights,
)
from rockstar_training.report.data import Classified, Regressed, ReportData
from rockstar_training.report.interval import wilson
from rockstar_training.report.section import Section
from rockstar_training.report.theme import DARK, LIGHT, png
from rockstar_training.report.wording import metrics_in_words

REPORT_FILE = "report.html"
_TEMPLATE = "report.html.j2"


@dataclass(frozen=True)
class _Shown:
    """A section with its figure in both themes, as data URLs; empty where it has none."""

    section: Section
    light: str
    dark: str


def write_report(data: ReportData, run_folder: Path) -> Path:
    """Draw a run.

    Args:
        data: what is drawn.
        run_folder: gets report.html and a PNG for each figure, over older ones; made where there
            is none.

    Returns:
        The HTML file. It holds its images and refers to nothing outside.

    Raises:
        TrainingError: it cannot be written.
    """
    try:
        run_folder.mkdir(parents=True, exist_ok=True)
        shown = [_show(section, run_folder) for section in sections(data)]
        report = run_folder / REPORT_FILE
        report.write_text(_page(data, shown), encoding="utf-8")
    except OSError as error:
        raise TrainingError(f"cannot write the report to {run_folder}: {error}") from error
    return report


def sections(data: ReportData) -> list[Section]:
    """What there is to show of a run, in the order in which it is shown."""
    labels = data.contract.labels
    found: list[Section | None] = []
    if isinstance(data.outcome, Regressed):
        found += linear.sections(data.outcome)
        if data.outcome.descent is not None:
            found.append(surface.section(data.outcome.descent))
    found.append(curves.section(data.history, _loss(data.outcome)))
    if isinstance(data.outcome, Classified):
        found += [
            confusion.section(data.outcome, labels),
            mistakes.section(data.outcome, labels),
            calibration.section(data.outcome),
        ]
    metric = "balanced accuracy" if isinstance(data.outcome, Classified) else "R²"
    found.append(importance.section(data.importance, metric))
    if data.weights.logistic is not None:
        found.append(weights.logistic_section(data.weights.logistic, labels))
    if data.weights.first_filters is not None:
        found.append(weights.filters_section(data.weights.first_filters))
    return [section for section in found if section is not None]


def _loss(outcome: Classified | Regressed) -> str:
    return "cross-entropy, in nats" if isinstance(outcome, Classified) else "mean squared error"


def _show(section: Section, folder: Path) -> _Shown:
    if section.draw is None:
        return _Shown(section, "", "")
    light = png(section.draw(LIGHT))
    (folder / f"{section.key}.png").write_bytes(light)
    if section.gallery:
        return _Shown(section, "", "")
    return _Shown(section, data_url(light), data_url(png(section.draw(DARK))))


def data_url(image: bytes) -> str:
    """A PNG as a URL that holds it."""
    return f"data:image/png;base64,{base64.b64encode(image).decode()}"


def _page(data: ReportData, shown: list[_Shown]) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_url"] = data_url
    contract, outcome = data.contract, data.outcome
    return environment.get_template(_TEMPLATE).render(
        contract=contract,
        shown=shown,
        key_figures=key_figures(data),
        notes=data.notes,
        rows=linear.rows_of(outcome) if isinstance(outcome, Regressed) else "held-out examples",
        origin=_origin(contract),
        config={name.replace("_", " "): _setting(value) for name, value in data.config.items()},
        light=LIGHT,
        dark=DARK,
    )


def key_figures(data: ReportData) -> list[tuple[str, str]]:
    """Names and values of the figures that matter most, the first one above all."""
    outcome = data.outcome
    figures: list[tuple[str, str]] = []
    if isinstance(outcome, Regressed):
        figures += linear.key_figures(outcome)
    else:
        truth, count = outcome.truth, len(outcome.truth)
        low, high = wilson(outcome.right, count)
        figures = [
            ("Accuracy", f"{outcome.right / count:.4f}"),
            ("95 % confidence interval", f"{low:.4f} to {high:.4f} (Wilson)"),
            ("Right", f"{outcome.right} of {count} held-out examples"),
            ("Right by always answering the most frequent label", f"{majority_share(truth):.4f}"),
            ("Expected calibration error", f"{calibration.calibrate(outcome).error:.4f}"),
        ]
    figures += metrics_in_words(data.contract.metrics)
    if data.history:
        figures.append(("Epochs", str(len(data.history))))
    seconds = [record.seconds for record in data.history if record.seconds is not None]
    if seconds:
        figures.append(("Time in epochs", f"{sum(seconds):.1f} s"))
    return figures


def _origin(contract: Contract) -> list[tuple[str, str]]:
    source, _ = contract.training_data
    kind = "image" if isinstance(contract.input, ImageInput) else "row"
    return [
        ("Data", f"{source.name}, {source.examples} examples"),
        ("SHA-256 of the data", source.sha256),
        (
            "Input",
            f"{kind}, {contract.encoded.dtype} {list(contract.encoded.shape)}",
        ),
        ("Created", f"{contract.created:%Y-%m-%d %H:%M} UTC"),
        ("Made by", contract.producer),
    ]


def _setting(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
