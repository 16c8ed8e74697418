"""`rockstar train`."""

from pathlib import Path
from typing import Any

import click

from training.config import DATA_SETS, MODELS


@click.command(epilog="Example: rockstar train cnn --data digits")
@click.argument("model", type=click.Choice(MODELS))
@click.option("--data", type=click.Choice(DATA_SETS), default=DATA_SETS[0], help="To train on.")
@click.option("--name", help="Publish under this name.  [default: MODEL]")
@click.option(
    "--workdir", default=".", type=click.Path(path_type=Path), help="Gets models/, runs/."
)
@click.option("--epochs", type=int, help="How often the training data is seen.")
@click.option("--batch-size", type=int, help="Examples in one step.")
@click.option("--learning-rate", type=float, help="At the start.")
@click.option("--augmentation", type=float, help="Strength of random changes; 0 is none.")
@click.option("--seed", type=int, help="The same seed, the same model.")
@click.option("--test-fraction", type=float, help="Share of the data that is held out.")
def train(model: str, data: str, workdir: Path, **settings: Any) -> None:
    """Train a MODEL, test it on held-out examples, and publish it as the next version.

    What is not given has a default that suits the model.
    """
    from training.config import config_for
    from training.errors import TrainingError
    from training.progress import shown

    given = {name: value for name, value in settings.items() if value is not None}
    try:
        config = config_for(model, data=data, **given)
        try:
            from training.summary import summarize
            from training.train import train_and_evaluate
        except ModuleNotFoundError as error:
            raise click.ClickException(
                f"training needs {error.name}: in a checkout, pip install '.[train]'"
            ) from error
        with shown(f"Training {config.name}", config.epochs) as progress:
            result = train_and_evaluate(config, workdir, progress)
        click.echo(summarize(result))
    except TrainingError as error:
        raise click.ClickException(str(error)) from error
