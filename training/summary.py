"""A training run in a few lines."""

from pathlib import Path

from training.train import TrainingResult


def summarize(result: TrainingResult) -> str:
    """What was trained, how good it is, where it lies, how large and how long; without colours."""
    contract = result.contract
    return "\n".join(
        [
            *result.notes,
            f"{contract.model} version {contract.version} in {result.seconds:.1f} s",
            *_quality(result),
            f"  model     {result.folder} ({_size(result.folder)})",
            f"  report    {result.run_folder / 'report.html'}",
        ]
    )


def _quality(result: TrainingResult) -> list[str]:
    metrics, count = result.metrics, len(result.test.truth)
    if result.contract.task == "classification":
        right = round(metrics["test_accuracy"] * count)
        share = f"{metrics['test_accuracy']:.4f}"
        lines = [f"  accuracy  {share} ({right} of {count} held-out examples)"]
        if "quantized_test_accuracy" in metrics:
            lines.append(f"  in int8   {metrics['quantized_test_accuracy']:.4f}")
        return lines
    r2 = f"R² {metrics['test_r2']:.4f}, " if "test_r2" in metrics else ""
    lines = [f"  fit       {r2}RMSE {metrics['test_rmse']:.6g} ({count} held-out examples)"]
    if result.line is not None:
        lines.append(f"  line      W = {result.line[0]:.8f}, b = {result.line[1]:.8f}")
    return lines


def _size(folder: Path) -> str:
    litert = (folder / "model.tflite").stat().st_size
    everything = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{everything / 1024:,.0f} KiB, of which model.tflite {litert / 1024:,.0f} KiB"
