"""`rockstar train`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commandline.exits import Exit
from commandline.options import json_option
from commandline.output import echo_json, echo_step
from training.config import (
    ACTIVATIONS,
    APIS,
    CLASS_WEIGHTS,
    COLUMN_TYPES,
    DEFAULT_DATA,
    MIXED_PRECISION,
    PRESETS,
    PRETRAINED_INPUTS,
    QUANTIZATIONS,
    TASKS,
)
from training.data_spec import SYNTAX
from training.defaults import MODELS

if TYPE_CHECKING:
    from training.config import TrainConfig
    from training.train import TrainingResult


class Sizes(click.ParamType[tuple[int, ...]]):
    """Whole numbers with commas between them."""

    name = "n,n,…"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """The numbers."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(size) for size in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of sizes such as 512,256", param, ctx)


class TypedColumn(click.ParamType[tuple[str, str]]):
    """A column of a table and its type, as COLUMN=TYPE."""

    name = "column=type"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """The column and its type."""
        if isinstance(value, tuple):
            return value
        column, _, kind = value.rpartition("=")
        if not column or kind not in COLUMN_TYPES:
            known = ", ".join(COLUMN_TYPES)
            self.fail(f"{value!r} is not COLUMN=TYPE with a type of {known}", param, ctx)
        return column, kind


@click.command(epilog="Example: rockstar train cnn --data digits")
@click.argument("model", type=click.Choice(MODELS), required=False)
@click.option("--config", type=click.Path(path_type=Path), help="Settings: a run's config.json.")
@click.option("--data", help=f"{SYNTAX}.  [default: {DEFAULT_DATA}]")
@click.option("--data-dir", help="Where files of data sets lie.")
@click.option("--target", help="The column of a table that is predicted.")
@click.option("--task", type=click.Choice(TASKS), help="Of a table.  [default: by the target]")
@click.option("--ignore", multiple=True, metavar="COLUMN", help="Of a table; may be repeated.")
@click.option(
    "--type",
    "types",
    type=TypedColumn(),
    multiple=True,
    help=f"How to read a column: {', '.join(COLUMN_TYPES)}.  [default: by its values]",
)
@click.option("--image-size", type=int, help="Side of a folder's images for the model.")
@click.option("--name", help="Publish under this name.  [default: MODEL]")
@click.option(
    "--workdir", default=".", type=click.Path(path_type=Path), help="Gets models/, runs/."
)
@click.option("--api", type=click.Choice(APIS), help="Keras, or plain TensorFlow.")
@click.option("--preset", type=click.Choice(PRESETS), help="Architecture of the cnn.")
@click.option("--pretrained", help="Backbone of the cnn: FILE.keras or, e.g., MobileNetV2.")
@click.option(
    "--pretrained-input",
    type=click.Choice(PRETRAINED_INPUTS),
    help="What it takes of pixels.  [default: auto]",
)
@click.option("--fine-tune", type=int, help="Epochs in which the backbone is trained too.")
@click.option("--hidden", type=Sizes(), help="Sizes of an mlp's hidden layers.")
@click.option("--activation", type=click.Choice(ACTIVATIONS), help="Of these layers.")
@click.option("--epochs", type=int, help="How often the training data is seen, at most.")
@click.option("--batch-size", type=int, help="Examples in one step.")
@click.option("--learning-rate", type=float, help="At its height.")
@click.option("--augmentation", type=float, help="Strength of random changes; 0 is none.")
@click.option("--validation-fraction", type=float, help="Share of the training data; 0 is none.")
@click.option("--patience", type=int, help="Epochs without progress; 0 never stops early.")
@click.option("--l2", type=float, help="Penalty on large weights, 1/C; 0 is none.")
@click.option(
    "--class-weights",
    type=click.Choice(CLASS_WEIGHTS),
    help="Count all classes alike; auto: where one is rare.",
)
@click.option("--mixed-precision", type=click.Choice(MIXED_PRECISION), help="bfloat16.")
@click.option(
    "--quantize",
    is_flag=False,
    flag_value="dynamic",
    type=click.Choice(QUANTIZATIONS),
    help="Smaller LiteRT files, if accuracy falls by 0.3 points at most.  [without value: dynamic]",
)
@click.option("--tensorboard/--no-tensorboard", default=None, help="Write logs into the run.")
@click.option("--seed", type=int, help="The same seed, the same model.")
@click.option("--test-fraction", type=float, help="Share of the data that is held out.")
@click.option(
    "--split",
    metavar="random|group:COLUMN|time:COLUMN",
    help="Of a table: keep groups together, or hold out the latest rows.",
)
@click.option("--validation", metavar="PATH", help="CSV file or folder to validate with.")
@click.option("--test", metavar="PATH", help="CSV file or folder to test with.")
@click.option("--folds", type=int, help="Cross-validate a table first; 0 does not.")
@click.option("--replace", is_flag=True, help="Publish also other labels, inputs or data.")
@click.option("--serve-anyway", is_flag=True, help="Serve it even if it is less accurate.")
@json_option
def train(
    model: str | None,
    config: Path | None,
    workdir: Path,
    replace: bool,
    serve_anyway: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a MODEL, test it on held-out examples, and publish it as the next version.

    What is not given has a default that suits the model. Stopped and started again with the same
    settings, training goes on where it was.

    A version with other labels, inputs, target or data set than the one that is served under this
    name is refused before training starts, unless with --replace. One that is less accurate on
    held-out examples than the one that is served, beyond the 95 % confidence interval, is published
    but not served (as held-N), unless with --serve-anyway; rockstar promote has it served later.
    """
    from training.errors import StoppedError

    try:
        result = _run(_config(model, config, settings), workdir, as_json, replace, serve_anyway)
    except StoppedError as error:
        click.echo(f"\n{error}", err=True)
        raise click.exceptions.Exit(Exit.INTERRUPTED) from error
    if as_json and result is not None:
        _tell(result)


def _config(model: str | None, file: Path | None, settings: dict[str, Any]) -> "TrainConfig":
    from training.config import config_for
    from training.config_file import read_config

    settings["ignore"] = settings["ignore"] or None
    settings["types"] = dict(settings["types"]) or None
    if file is not None:
        return read_config(file, model=model, **settings)
    if model is None:
        raise click.UsageError(f"say which model: {', '.join(MODELS)}; or give --config FILE")
    return config_for(model, **settings)


def _run(
    config: "TrainConfig", workdir: Path, as_json: bool, replace: bool, serve_anyway: bool
) -> "TrainingResult | None":
    """Train and publish; None in a process that only helps the chief of several workers."""
    from training.comparison import promised_by, require_compatible
    from training.distribution import is_chief
    from training.prepare import prepare_for
    from training.progress import shown
    from training.record import require_writable
    from training.summary import describe, summarize

    chief = is_chief()
    # Everything that can be wrong with arguments and data, before TensorFlow takes its seconds.
    require_writable(workdir)
    echo_step(f"Reading {config.data} …")
    data = prepare_for(config)
    echo_step(describe(data))
    if not replace:
        require_compatible(workdir / "models", config.name, promised_by(data))
    echo_step("Loading TensorFlow …")
    from training.cross_validation import cross_validate
    from training.train import take_part, train_and_evaluate

    folds = cross_validate(config, echo_step) if config.folds else None

    with shown(f"Training {config.name}", config.epochs + config.fine_tune) as progress:
        if not chief:
            take_part(config, workdir, progress, data)
            return None
        result = train_and_evaluate(
            *(config, workdir, progress, data, folds), replace=replace, serve_anyway=serve_anyway
        )
    if not as_json:
        click.echo(summarize(result, shown=data.notes))
    return result


def _tell(result: "TrainingResult") -> None:
    contract = result.contract
    echo_json(
        {
            "model": contract.model,
            "version": contract.version,
            "task": contract.task,
            "path": str(result.folder),
            "run": str(result.run_folder),
            "metrics": result.metrics,
            "epochs": len(result.history),
            "seconds": result.seconds,
            "notes": result.notes,
            "held": result.held or None,
        }
    )
