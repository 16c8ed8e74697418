"""Measures what watching a training costs: the same training with and without an open page.

    python -m benchmarks.watching [--model cnn] [--epochs 20] [--rounds 5]

A thread reads the events as a page does, and a drawing is predicted. Each round trains both ways,
in turns; the table has the rounds' median ratio of the processor time of the whole process, which
other programs disturb less than time, and that of the duration of the epochs after the first.
"""

import base64
import json
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import click
import requests

DIGIT = Path(__file__).parents[1] / "examples" / "7.png"


@click.command()
@click.option("--model", default="cnn", help="Model to train on the bundled digits.")
@click.option("--epochs", default=20, help="Epochs of each training.")
@click.option("--rounds", default=5, help="Trainings of each kind.")
def main(model: str, epochs: int, rounds: int) -> None:
    """Train in turns and print a Markdown table."""
    from rockstar_cli.watch import serve_page

    plain, watched = [], []
    with tempfile.TemporaryDirectory(prefix="rockstar-benchmark-") as folder:
        runs = Path(folder) / "runs"
        _train(model, 1, Path(folder))  # loads TensorFlow
        for _ in range(rounds):
            plain.append(_train(model, epochs, Path(folder)))
            with serve_page(runs, []) as (url, show):
                threading.Thread(target=_read, args=(f"{url}events",), daemon=True).start()
                watched.append(_train(model, epochs, Path(folder), lambda run: _draw(run, show)))
    click.echo("| model | processor time, watched to not watched | epochs |")
    click.echo("| --- | --- | --- |")
    cpu, epoch = (
        median(seen[place] / unseen[place] for seen, unseen in zip(watched, plain, strict=True))
        for place in (0, 1)
    )
    click.echo(f"| {model}, {epochs} epochs | {cpu:.3f} | {epoch:.3f} |")


def _train(
    model: str, epochs: int, workdir: Path, watch: Callable[[Path], None] | None = None
) -> tuple[float, float]:
    """Return the processor time of a training, and the duration of its epochs after the first."""
    from rockstar_training.config import config_for
    from rockstar_training.train import train_and_evaluate

    config = config_for(model, epochs=epochs)
    started = time.process_time()
    result = train_and_evaluate(config, workdir, serve_anyway=True, watch=watch)
    ended = time.process_time()
    return ended - started, sum(epoch.seconds for epoch in result.history[1:])


def _draw(run: Path, show: Callable[[Path], None]) -> None:
    show(run)
    png = base64.b64encode(DIGIT.read_bytes()).decode()
    with (run / "requests.jsonl").open("a") as file:
        file.write(json.dumps({"action": "draw", "png": png}) + "\n")


def _read(url: str) -> None:
    with requests.get(url, stream=True, timeout=60) as stream:
        for _ in stream.iter_content(2**16):
            pass


if __name__ == "__main__":
    main()
