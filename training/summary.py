"""A training run in a few lines."""

from pathlib import Path

from training.train import TrainingResult


def summarize(result: TrainingResult) -> str:
    """What was trained, how good it is, where it lies, how large and how long; without colours."""
    contract, metrics = result.contract, result.metrics
    count = len(result.test.truth)
    right = round(metrics["test_accuracy"] * count)
    return "\n".join(
        [
            f"{contract.model} version {contract.version} in {result.seconds:.1f} s",
            f"  accuracy  {metrics['test_accuracy']:.4f} ({right} of {count} held-out images)",
            f"  model     {result.folder} ({_size(result.folder)})",
            f"  record    {result.run_folder}",
        ]
    )


def _size(folder: Path) -> str:
    litert = (folder / "model.tflite").stat().st_size
    everything = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{everything / 1024:,.0f} KiB, of which model.tflite {litert / 1024:,.0f} KiB"
