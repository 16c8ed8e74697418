"""A training run in a few lines: its data before it starts, its result at the end."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rockstar_contract.contract import ImageInput
from rockstar_training.prepared import Prepared

if TYPE_CHECKING:
    from rockstar_training.train import TrainingResult

# Labels that are listed by name.
_LISTED = 10


def describe(data: Prepared) -> str:
    """What is about to be learned from which data; without colours."""
    what = "images" if isinstance(data.input, ImageInput) else "rows"
    if data.task == "classification":
        names = ", ".join(data.labels[:_LISTED])
        more = ", …" if len(data.labels) > _LISTED else ""
        goal = f"classification, {len(data.labels)} labels ({names}{more})"
    else:
        goal = "regression"
    goal = f"{data.target}: {goal}" if data.target else goal
    parts = [f"{data.train.count:,} to train on"]
    if data.validation.count:
        parts.append(f"{data.validation.count:,} to validate with")
    parts.append(f"{data.test.count:,} held out")
    return "\n".join(
        [goal, f"{data.name}: {data.examples:,} {what} ({', '.join(parts)})", *data.notes]
    )


def summarize(result: "TrainingResult", shown: Sequence[str] = ()) -> str:
    """What was trained, how good it is, where it lies, how large and how long; without colours.

    Args:
        result: of the run.
        shown: notes that were shown before.
    """
    contract = result.contract
    return "\n".join(
        [
            *(note for note in result.notes if note not in shown),
            f"{contract.model} version {contract.version} in {result.seconds:.1f} s",
            *_quality(result),
            f"  model     {result.folder} ({_size(result.folder)})",
            f"  report    {result.run_folder / 'report.html'}",
            *_held(result),
        ]
    )


def _held(result: "TrainingResult") -> list[str]:
    if not result.held:
        return []
    contract = result.contract
    return [
        f"  NOT SERVED: {result.held}.",
        f"  It lies there as {result.folder.name}; to have it served all the same: "
        f"rockstar promote {contract.model} {contract.version}",
    ]


def _quality(result: "TrainingResult") -> list[str]:
    metrics, count = result.metrics, len(result.test.truth)
    if result.contract.task == "classification":
        right = round(metrics["test_accuracy"] * count)
        share = f"{metrics['test_accuracy']:.4f}"
        lines = [f"  accuracy  {share} ({right} of {count} held-out examples)"]
        others = {"balanced_accuracy": "balanced", "f1": "F1", "auc": "AUC"}
        told = [
            f"{words} {metrics[f'test_{name}']:.4f}"
            for name, words in others.items()
            if f"test_{name}" in metrics
        ]
        if told:
            lines.append(f"            {', '.join(told)} (means over the classes)")
        lines += _folds(result, {"accuracy": "accuracy", "f1": "F1"})
        if "quantized_test_accuracy" in metrics:
            lines.append(f"  quantised {metrics['quantized_test_accuracy']:.4f}")
        return lines
    r2 = f"R² {metrics['test_r2']:.4f}, " if "test_r2" in metrics else ""
    lines = [f"  fit       {r2}RMSE {metrics['test_rmse']:.6g} ({count} held-out examples)"]
    lines += _folds(result, {"r2": "R²", "rmse": "RMSE"})
    if result.line is not None:
        lines.append(f"  line      W = {result.line[0]:.8f}, b = {result.line[1]:.8f}")
    return lines


def _folds(result: "TrainingResult", names: dict[str, str]) -> list[str]:
    """What cross-validation said: mean and standard deviation over the folds."""
    metrics = result.metrics
    told = [
        f"{words} {metrics[f'cv_{name}']:.4g} ± {metrics[f'cv_{name}_std']:.2g}"
        for name, words in names.items()
        if f"cv_{name}" in metrics
    ]
    return [f"  folds     {', '.join(told)}"] if told else []


def _size(folder: Path) -> str:
    litert = (folder / "model.tflite").stat().st_size
    everything = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{everything / 1024:,.0f} KiB, of which model.tflite {litert / 1024:,.0f} KiB"
