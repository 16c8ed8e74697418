"""`rockstar learning-rates`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from training.config import DEFAULT_SEED
from training.defaults import CLASSIFIERS

if TYPE_CHECKING:
    from training.learning_rates import FourCurves

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
def learning_rates(model: str, out: Path, epochs: int, seed: int) -> None:
    """Draw what very high, high, good and low learning rates do.

    Trains a small model on the bundled digits, by plain gradient descent, at one learning rate
    after the other, and draws the four that tell the story.
    """
    from training.errors import TrainingError

    try:
        try:
            from training.learning_rates import LADDER, four_curves
            from training.report import rates
            from training.report.theme import png
        except ModuleNotFoundError as error:
            raise click.ClickException(
                f"training needs {error.name}: in a checkout, pip install '.[train]'"
            ) from error
        with click.progressbar(
            length=len(LADDER), label="Learning rates", file=sys.stderr, width=24, show_pos=True
        ) as bar:
            curves = four_curves(model, epochs, seed, lambda _done, _most: bar.update(1))
        figure = rates.draw(curves, f"{model} on digits, plain gradient descent, {epochs} epochs")
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(png(figure))
    except OSError as error:
        raise click.ClickException(f"cannot write {out}: {error}") from error
    except TrainingError as error:
        raise click.ClickException(str(error)) from error
    click.echo(_summary(curves))
    click.echo(f"Drawn in {out}")


def _summary(curves: "FourCurves") -> str:
    told = {
        "very high": curves.very_high,
        "high": curves.high,
        "good": curves.good,
        "low": curves.low,
    }
    lines = [f"{'':10} {'rate':>7}  {'loss: before':>12} {'highest':>8} {'at the end':>10}"]
    lines += [
        f"{name:10} {curve.rate:>7g}  {curve.losses[0]:>12.3f} {curve.losses.max():>8.3f} "
        f"{curve.settled:>10.3f}"
        for name, curve in told.items()
    ]
    return "\n".join([*lines, "(at the end: mean of the last quarter of the epochs)"])
