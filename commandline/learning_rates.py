"""`rockstar learning-rates`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commandline.options import json_option
from commandline.output import echo_json, progress_shown
from training.config import DEFAULT_SEED
from training.defaults import CLASSIFIERS

if TYPE_CHECKING:
    from training.learning_rates import Curve, FourCurves

DEFAULT_OUT = "learning_rates.png"
DEFAULT_EPOCHS = 15


@click.command(name="learning-rates", epilog="Example: rockstar learning-rates --model mlp")
@click.option("--model", type=click.Choice(CLASSIFIERS), default="logistic", help="To train.")
@click.option(
    "--out", default=DEFAULT_OUT, type=click.Path(dir_okay=False, path_type=Path), help="PNG."
)
@click.option("--epochs", default=DEFAULT_EPOCHS, type=click.IntRange(4, 1000), help="Of each run.")
@click.option(
    "--seed", default=DEFAULT_SEED, type=click.IntRange(0, 2**32 - 1), help="Of all runs."
)
@json_option
def learning_rates(model: str, out: Path, epochs: int, seed: int, as_json: bool) -> None:
    """Draw what very high, high, good and low learning rates do.

    Trains a small model on the bundled digits, by plain gradient descent, at one learning rate
    after the other, and draws the four that tell the story.
    """
    # Before anything that takes long.
    out.parent.mkdir(parents=True, exist_ok=True)
    from training.learning_rates import LADDER, four_curves
    from training.report import rates
    from training.report.theme import png

    with click.progressbar(
        length=len(LADDER),
        label="Learning rates",
        file=sys.stderr,
        width=24,
        show_pos=True,
        hidden=not progress_shown(),
    ) as bar:
        curves = four_curves(model, epochs, seed, lambda _done, _most: bar.update(1))
    figure = rates.draw(curves, f"{model} on digits, plain gradient descent, {epochs} epochs")
    out.write_bytes(png(figure))
    if as_json:
        echo_json({"model": model, "epochs": epochs, "path": str(out), "runs": _runs(curves)})
        return
    click.echo(_summary(curves))
    click.echo(f"Drawn in {out}")


def _told(curves: "FourCurves") -> dict[str, "Curve"]:
    return {
        "very high": curves.very_high,
        "high": curves.high,
        "good": curves.good,
        "low": curves.low,
    }


def _runs(curves: "FourCurves") -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "rate": curve.rate,
            "settled": curve.settled,
            "losses": curve.losses.tolist(),
        }
        for name, curve in _told(curves).items()
    ]


def _summary(curves: "FourCurves") -> str:
    lines = [f"{'':10} {'rate':>7}  {'loss: before':>12} {'highest':>8} {'at the end':>10}"]
    lines += [
        f"{name:10} {curve.rate:>7g}  {curve.losses[0]:>12.3f} {curve.losses.max():>8.3f} "
        f"{curve.settled:>10.3f}"
        for name, curve in _told(curves).items()
    ]
    return "\n".join([*lines, "(at the end: mean of the last quarter of the epochs)"])
