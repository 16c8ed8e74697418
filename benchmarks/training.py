"""Trains each of the lecture's models and compares it with the lecture's figures.

    python -m benchmarks.training [--data-dir DIR] [--only cnn …]

MNIST is read from mnist.npz in DIR (or $ROCKSTAR_DATA_DIR), or downloaded by Keras. Each row is one
training with the default settings of `rockstar train`. Its time is from the data on disk to the
published and verified model with its report, on all cores, without the import of TensorFlow. The
test split is evaluated once. Takes about half an hour on two cores.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

LECTURE_LINE = "x,y\n1,0\n2,-1\n3,-2\n4,-3\n"


@dataclass(frozen=True)
class Row:
    """A model, the lecture's result, and our settings."""

    name: str
    lecture: str
    model: str
    settings: dict[str, Any]


ROWS = (
    Row("linear", "W = -0.99999690, b = 0.99999082", "linear", {"data": "csv:", "target": "y"}),
    Row("logistic", "0.9082", "logistic", {}),
    Row("mlp", "0.5569", "mlp", {}),
    Row("cnn --api core", "about 0.992, 20,000 steps", "cnn", {"api": "core"}),
    Row("cnn --preset lecture", "0.9815, 33 min 46 s", "cnn", {"preset": "lecture"}),
    Row("cnn", "", "cnn", {}),
)


@click.command()
@click.option("--data-dir", help="Folder of mnist.npz.")
@click.option("--only", multiple=True, help="Only the rows with these names.")
def main(data_dir: str | None, only: tuple[str, ...]) -> None:
    """Train and print a Markdown table, row by row."""
    click.echo("| `rockstar train` | lecture | RockstarTF | epochs | time | multiply-adds |")
    click.echo("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(prefix="rockstar-benchmark-") as folder:
        line = Path(folder) / "line.csv"
        line.write_text(LECTURE_LINE)
        for row in ROWS:
            if not only or row.name in only:
                data = f"csv:{line}" if "data" in row.settings else "mnist"
                settings = {**row.settings, "data": data, "data_dir": data_dir}
                click.echo(_run(row, settings, Path(folder)))


def _run(row: Row, settings: dict[str, Any], workdir: Path) -> str:
    from rockstar_training.config import config_for
    from rockstar_training.networks import build, multiply_adds
    from rockstar_training.prepared_data import Task
    from rockstar_training.progress import show_progress
    from rockstar_training.train import train_and_evaluate

    config = config_for(row.model, **settings)
    with show_progress(f"Training {row.name}", config.epochs) as progress:
        result = train_and_evaluate(config, workdir, progress)
    contract = result.contract
    task = Task(tuple(contract.encoded.shape), len(contract.labels) or None)
    adds = multiply_adds(build(config, task))
    minutes, seconds = divmod(round(result.seconds), 60)
    cells = (
        f"`{row.name}`",
        row.lecture,
        _quality(result),
        str(len(result.history)),
        f"{minutes} min {seconds} s",
        f"{adds:,}",
    )
    return f"| {' | '.join(cells)} |"


def _quality(result: Any) -> str:
    if result.line is not None:
        return "W = {:.8f}, b = {:.8f}".format(*result.line)
    return f"{result.metrics['test_accuracy']:.4f}"


if __name__ == "__main__":
    main()
