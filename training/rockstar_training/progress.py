"""What a training run prints: the data it starts with, the progress of its epochs, the result."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import click

from rockstar_contract.contract import ImageInput

if TYPE_CHECKING:
    from tqdm import tqdm

    from rockstar_training.prepared_data import PreparedData
    from rockstar_training.train import TrainingResult

# Lines printed if the output is not a terminal, and labels listed by name, at most.
_PLAIN_LINES, _LISTED = 5, 10


@dataclass(frozen=True)
class Epoch:
    """Metrics at the end of an epoch."""

    number: int  # from 1
    epochs: int  # how many are planned
    loss: float  # mean over the epoch's training batches, as augmented
    accuracy: float | None = None  # likewise; None for a regression
    val_loss: float | None = None  # on the validation data at the end; None without such data
    val_accuracy: float | None = None  # likewise
    learning_rate: float = 0.0  # of the last step
    seconds: float = 0.0  # duration, including validation
    last: bool = False  # whether training ends with this epoch, as planned or early

    @property
    def metrics(self) -> dict[str, float]:
        """What was measured, by name."""
        names = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds")
        found = {name: getattr(self, name) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    def __str__(self) -> str:
        return _joined(
            ".3g" if self.accuracy is None else ".3f",
            loss=self.loss,
            accuracy=self.accuracy,
            validation_loss=self.val_loss,
            validation_accuracy=self.val_accuracy,
        )

    def brief(self) -> str:
        """Format the main metrics for a line of 80 columns that also holds a progress bar."""
        if self.accuracy is None:
            return _joined(".3g", loss=self.loss, val=self.val_loss)
        return _joined(".3f", accuracy=self.accuracy, val=self.val_accuracy, loss=self.loss)


def _joined(form: str, **values: float | None) -> str:
    known = ((name.replace("_", " "), value) for name, value in values.items())
    return ", ".join(f"{name} {value:{form}}" for name, value in known if value is not None)


Progress = Callable[[Epoch], None]  # called at the end of every epoch


@contextmanager
def show_progress(label: str, epochs: int, stream: TextIO | None = None) -> Iterator[Progress]:
    """Show the epochs of a training: a progress bar on a terminal, a few plain lines elsewhere.

    Yields the `progress` argument of `train_and_evaluate`. The stream defaults to standard error.
    """
    stream = sys.stderr if stream is None else stream
    with progress_bar(label, epochs, stream) as bar:

        def show(epoch: Epoch) -> None:
            if not bar.disable:
                bar.set_postfix_str(epoch.brief(), refresh=False)
                # A resumed training starts at a later epoch.
                bar.update(epoch.number - bar.n)
            elif epoch.number % max(1, epoch.epochs // _PLAIN_LINES) == 0 or epoch.last:
                line = f"{label}: epoch {epoch.number} of {epoch.epochs}, {epoch}"
                click.echo(line, file=stream)

        yield show


def progress_bar(label: str, total: int, stream: TextIO) -> "tqdm[Any]":
    """A bar with a postfix after the elapsed time; disabled if the stream is no terminal."""
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # it would start a thread
    return tqdm(
        total=total,
        desc=label,
        file=stream,
        bar_format="{desc} {n_fmt}/{total_fmt} |{bar}| {elapsed}{postfix}",
        dynamic_ncols=True,
        mininterval=0,
        disable=None,
    )


def describe(data: "PreparedData") -> str:
    """Describe the data set and the task before training, in lines without colors."""
    what = "images" if isinstance(data.input, ImageInput) else "rows"
    if data.task == "classification":
        names = ", ".join(data.labels[:_LISTED])
        more = ", …" if len(data.labels) > _LISTED else ""
        goal = f"classification, {len(data.labels)} labels ({names}{more})"
    else:
        goal = "regression"
    goal = f"{data.target}: {goal}" if data.target else goal
    count = data.validation.count
    validation = f"{count:,} to validate with, " if count else ""
    parts = f"{data.train.count:,} to train on, {validation}{data.test.count:,} held out"
    return "\n".join([goal, f"{data.name}: {data.examples:,} {what} ({parts})", *data.notes])


def summarize(result: "TrainingResult", shown: Sequence[str] = ()) -> str:
    """Summarize a run in lines without colors, except for notes that were already shown."""
    contract = result.contract
    files = [path for path in result.folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1024
    litert = (result.folder / "model.tflite").stat().st_size / 1024
    lines = [
        *(note for note in result.notes if note not in shown),
        f"{contract.model} version {contract.version} in {result.seconds:.1f} s",
        *_quality(result),
        f"  model     {result.folder} ({size:,.0f} KiB, of which model.tflite {litert:,.0f} KiB)",
        f"  report    {result.run_folder / 'report.html'}",
    ]
    if result.held:
        lines += [
            f"  NOT SERVED: {result.held}.",
            f"  It is published as {result.folder.name}; to serve it anyway: "
            f"rockstar promote {contract.model} {contract.version}",
        ]
    return "\n".join(lines)


def _quality(result: "TrainingResult") -> list[str]:
    metrics, count = result.metrics, len(result.test.truth)
    if result.contract.task == "classification":
        right = round(metrics["test_accuracy"] * count)
        share = f"{metrics['test_accuracy']:.4f}"
        lines = [f"  accuracy  {share} ({right} of {count} held-out examples)"]
        others = {"balanced_accuracy": "balanced", "f1": "F1", "auc": "AUC"}
        means = _joined(".4f", **{words: metrics.get(f"test_{n}") for n, words in others.items()})
        if means:
            lines.append(f"            {means} (means over the classes)")
        headlines = {"accuracy": "accuracy", "f1": "F1"}
    else:
        r2 = f"R² {metrics['test_r2']:.4f}, " if "test_r2" in metrics else ""
        lines = [f"  fit       {r2}RMSE {metrics['test_rmse']:.6g} ({count} held-out examples)"]
        headlines = {"r2": "R²", "rmse": "RMSE"}
    folds = [
        f"{words} {metrics[f'cv_{name}']:.4g} ± {metrics[f'cv_{name}_std']:.2g}"
        for name, words in headlines.items()
        if f"cv_{name}" in metrics
    ]
    if folds:
        lines.append(f"  folds     {', '.join(folds)}")
    if "quantized_test_accuracy" in metrics:
        lines.append(f"  quantized {metrics['quantized_test_accuracy']:.4f}")
    if result.line is not None:
        lines.append(f"  line      W = {result.line[0]:.8f}, b = {result.line[1]:.8f}")
    return lines
