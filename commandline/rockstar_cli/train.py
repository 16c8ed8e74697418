"""`rockstar train`, `rockstar runs` and `rockstar learning-rates`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rockstar_cli.failures import Exit
from rockstar_cli.options import json_option
from rockstar_cli.output import echo_json, echo_step, progress_shown, table
from rockstar_training.config import (
    ACTIVATIONS,
    APIS,
    CLASS_WEIGHTS,
    CLASSIFIERS,
    COLUMN_TYPES,
    DEFAULT_DATA,
    DEFAULT_SEED,
    MIXED_PRECISION,
    MODELS,
    PRESETS,
    PRETRAINED_INPUTS,
    QUANTIZATIONS,
    SYNTAX,
    TASKS,
)
from rockstar_training.runs import SORTABLE, Run, read_runs, sort_runs

if TYPE_CHECKING:
    from rockstar_training.config import TrainConfig
    from rockstar_training.learning_rates import Curve, FourCurves
    from rockstar_training.train import TrainingResult


class Sizes(click.ParamType[tuple[int, ...]]):
    """Whole numbers separated by commas."""

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
@click.option(
    "--config", type=click.Path(path_type=Path), help="Read settings from a run's config.json."
)
@click.option("--data", help=f"{SYNTAX}.  [default: {DEFAULT_DATA}]")
@click.option("--data-dir", help="Folder with the files of data sets.")
@click.option("--target", help="Column of a table to predict.")
@click.option(
    "--task", type=click.Choice(TASKS), help="Task for a table.  [default: from the target]"
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="COLUMN",
    help="Column of a table to leave out; may be repeated.",
)
@click.option(
    "--type",
    "types",
    type=TypedColumn(),
    multiple=True,
    help=f"Type of a column: {', '.join(COLUMN_TYPES)}.  [default: from its values]",
)
@click.option(
    "--image-size", type=int, help="Height and width to which images of a folder are resized."
)
@click.option("--name", help="Publish under this name.  [default: MODEL]")
@click.option(
    "--workdir", default=".", type=click.Path(path_type=Path), help="Folder for models/ and runs/."
)
@click.option("--api", type=click.Choice(APIS), help="Keras, or plain TensorFlow.")
@click.option("--preset", type=click.Choice(PRESETS), help="Architecture of the cnn.")
@click.option("--pretrained", help="Backbone of the cnn: FILE.keras or, e.g., MobileNetV2.")
@click.option(
    "--pretrained-input",
    type=click.Choice(PRETRAINED_INPUTS),
    help="Pixel values that the backbone expects.  [default: auto]",
)
@click.option("--fine-tune", type=int, help="Epochs that also train the backbone.")
@click.option("--hidden", type=Sizes(), help="Sizes of an mlp's hidden layers.")
@click.option(
    "--activation", type=click.Choice(ACTIVATIONS), help="Activation of the hidden layers."
)
@click.option("--epochs", type=int, help="Maximum number of passes over the training data.")
@click.option("--batch-size", type=int, help="Examples per step.")
@click.option("--learning-rate", type=float, help="Peak learning rate.")
@click.option("--augmentation", type=float, help="Strength of augmentation; 0 is none.")
@click.option(
    "--validation-fraction",
    type=float,
    help="Share of the training data used for validation; 0 is none.",
)
@click.option(
    "--patience",
    type=int,
    help="Stop after this many epochs without progress; 0 never stops early.",
)
@click.option("--l2", type=float, help="Penalty on large weights, 1/C; 0 is none.")
@click.option(
    "--class-weights",
    type=click.Choice(CLASS_WEIGHTS),
    help="Weight classes equally; auto: if a class is rare.",
)
@click.option("--mixed-precision", type=click.Choice(MIXED_PRECISION), help="bfloat16.")
@click.option(
    "--quantize",
    is_flag=False,
    flag_value="dynamic",
    type=click.Choice(QUANTIZATIONS),
    help="Smaller LiteRT files, if accuracy drops by at most 0.3 points.  [without value: dynamic]",
)
@click.option(
    "--tensorboard/--no-tensorboard", default=None, help="Write TensorBoard logs into the run."
)
@click.option("--seed", type=int, help="Random seed; the same seed gives the same model.")
@click.option("--test-fraction", type=float, help="Share of the data held out for testing.")
@click.option(
    "--split",
    metavar="random|group:COLUMN|time:COLUMN",
    help="Split of a table: keep groups together, or hold out the latest rows.",
)
@click.option("--validation", metavar="PATH", help="CSV file or folder to validate with.")
@click.option("--test", metavar="PATH", help="CSV file or folder to test with.")
@click.option(
    "--folds", type=int, help="Folds of cross-validation before training on a table; 0 is none."
)
@click.option("--replace", is_flag=True, help="Publish even if labels, inputs or data differ.")
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

    Settings that are left out have defaults that suit the model. An interrupted training continues
    when started again with the same settings.

    If the labels, inputs, target or data set differ from the served version of this name, training
    does not start, unless --replace is given. If the new version is less accurate on held-out
    examples than the served one, beyond the 95 % confidence interval, it is published as held-N and
    not served, unless --serve-anyway is given; rockstar promote serves it later.
    """
    from rockstar_training.errors import StoppedError

    try:
        result = _run(_config(model, config, settings), workdir, as_json, replace, serve_anyway)
    except StoppedError as error:
        click.echo(f"\n{error}", err=True)
        raise click.exceptions.Exit(Exit.INTERRUPTED) from error
    if as_json and result is not None:
        _echo_result(result)


def _config(model: str | None, file: Path | None, settings: dict[str, Any]) -> "TrainConfig":
    from rockstar_training.config import config_for, read_config

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
    """Train and publish; return None in a worker that is not the chief."""
    from rockstar_training.contracts import promised_by, require_compatible
    from rockstar_training.distribution import is_chief
    from rockstar_training.prepare import prepare_for
    from rockstar_training.progress import describe, show_progress, summarize
    from rockstar_training.runs import require_writable

    chief = is_chief()
    # Report wrong arguments and data before importing TensorFlow, which takes seconds.
    require_writable(workdir)
    echo_step(f"Reading {config.data} …")
    data = prepare_for(config)
    echo_step(describe(data))
    if not replace:
        require_compatible(workdir / "models", config.name, promised_by(data))
    echo_step("Loading TensorFlow …")
    from rockstar_training.train import cross_validate, take_part, train_and_evaluate

    folds = cross_validate(config, echo_step) if config.folds else None

    with show_progress(f"Training {config.name}", config.epochs + config.fine_tune) as progress:
        if not chief:
            take_part(config, workdir, progress, data)
            return None
        result = train_and_evaluate(
            *(config, workdir, progress, data, folds), replace=replace, serve_anyway=serve_anyway
        )
    if not as_json:
        click.echo(summarize(result, shown=data.notes))
    return result


def _echo_result(result: "TrainingResult") -> None:
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


_RUN_COLUMNS = (
    "",
    "run",
    "model",
    "data",
    "score",
    "",
    "loss",
    "epochs",
    "seconds",
    "created (UTC)",
)
# Columns of numbers, aligned right.
_RIGHT = {4, 6, 7, 8}
_UNKNOWN = "–"


@click.command(epilog="Example: rockstar runs --sort score")
@click.option("--workdir", default=".", type=click.Path(path_type=Path), help="Folder with runs/.")
@click.option(
    "--sort", type=click.Choice(list(SORTABLE)), default="created", help="Column to sort by."
)
@json_option
def runs(workdir: Path, sort: str, as_json: bool) -> None:
    """Compare training runs, newest or best first.

    The best run of each data set is marked with a star.
    """
    folder = workdir / "runs"
    try:
        found, skipped = read_runs(folder)
    except OSError as error:
        raise click.ClickException(
            f"cannot read {folder}: {error.strerror}; `rockstar train` writes runs there, "
            "--workdir names another place"
        ) from error
    found = sort_runs(found, sort)
    if as_json:
        echo_json({"runs": found, "skipped": skipped})
        return
    click.echo(
        table([_RUN_COLUMNS, *map(_row, found)], right=_RIGHT)
        if found
        else f"No finished runs in {folder}."
    )
    for each in skipped:
        click.echo(f"skipped {each.id}: {each.why}", err=True)


def _row(run: Run) -> tuple[str, ...]:
    return (
        "*" if run.best else "",
        run.id,
        run.model or _UNKNOWN,
        run.data or _UNKNOWN,
        _figure(run.score, ".4f"),
        run.metric or "",
        _figure(run.loss, ".4g"),
        _UNKNOWN if run.epochs is None else str(run.epochs),
        _figure(run.seconds, ".1f"),
        f"{run.created:%Y-%m-%d %H:%M}",
    )


def _figure(value: float | None, form: str) -> str:
    return _UNKNOWN if value is None else f"{value:{form}}"


DEFAULT_OUT = "learning_rates.png"
DEFAULT_EPOCHS = 15


@click.command(name="learning-rates", epilog="Example: rockstar learning-rates --model mlp")
@click.option("--model", type=click.Choice(CLASSIFIERS), default="logistic", help="Model to train.")
@click.option(
    "--out",
    default=DEFAULT_OUT,
    type=click.Path(dir_okay=False, path_type=Path),
    help="PNG file to write.",
)
@click.option(
    "--epochs", default=DEFAULT_EPOCHS, type=click.IntRange(4, 1000), help="Epochs per run."
)
@click.option(
    "--seed",
    default=DEFAULT_SEED,
    type=click.IntRange(0, 2**32 - 1),
    help="Random seed of all runs.",
)
@json_option
def learning_rates(model: str, out: Path, epochs: int, seed: int, as_json: bool) -> None:
    """Draw what very high, high, good and low learning rates do.

    Trains a small model on the bundled digits with plain gradient descent at increasing learning
    rates, and draws four of them.
    """
    # Fail before training if the file cannot be written.
    out.parent.mkdir(parents=True, exist_ok=True)
    from rockstar_training.learning_rates import LADDER, draw_curves, four_curves
    from rockstar_training.report.theme import png

    with click.progressbar(
        length=len(LADDER),
        label="Learning rates",
        file=sys.stderr,
        width=24,
        show_pos=True,
        hidden=not progress_shown(),
    ) as bar:
        curves = four_curves(model, epochs, seed, lambda _done, _most: bar.update(1))
    figure = draw_curves(curves, f"{model} on digits, plain gradient descent, {epochs} epochs")
    out.write_bytes(png(figure))
    if as_json:
        echo_json({"model": model, "epochs": epochs, "path": str(out), "runs": _runs(curves)})
        return
    click.echo(_summary(curves))
    click.echo(f"Drawn in {out}")


def _by_name(curves: "FourCurves") -> dict[str, "Curve"]:
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
        for name, curve in _by_name(curves).items()
    ]


def _summary(curves: "FourCurves") -> str:
    lines = [f"{'':10} {'rate':>7}  {'loss: before':>12} {'highest':>8} {'at the end':>10}"]
    lines += [
        f"{name:10} {curve.rate:>7g}  {curve.losses[0]:>12.3f} {curve.losses.max():>8.3f} "
        f"{curve.settled:>10.3f}"
        for name, curve in _by_name(curves).items()
    ]
    return "\n".join([*lines, "(at the end: mean of the last quarter of the epochs)"])
