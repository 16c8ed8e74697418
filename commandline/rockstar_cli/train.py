"""`rockstar train` and `rockstar tune`: train a model, or search its best settings first."""

import shlex
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rockstar_cli.options import json_option
from rockstar_cli.output import Exit, echo_json, table
from rockstar_training.config import (
    CHOICES,
    CLASSIFIERS,
    DEFAULT_DATA,
    SYNTAX,
    TrainConfig,
    config_for,
    read_config,
)
from rockstar_training.errors import ConfigError, StoppedError, TrainingError
from rockstar_training.indexed_job import has_several_workers, is_chief
from rockstar_training.runs import locked, require_writable

if TYPE_CHECKING:
    from rockstar_training.prepared_data import PreparedData
    from rockstar_training.train import TrainingResult
    from rockstar_training.tuning import Trial

# Trials in the table of a search.
_TRIALS_SHOWN = 10


def _sizes(text: str) -> tuple[int, ...]:
    """Parse whole numbers separated by commas."""
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of sizes such as 512,256") from None


def _typed_column(text: str) -> tuple[str, str]:
    """Parse a column of a table and its type, as COLUMN=TYPE."""
    column, _, kind = text.rpartition("=")
    if not column or kind not in CHOICES["types"]:
        known = ", ".join(CHOICES["types"])
        raise click.BadParameter(f"{text!r} is not COLUMN=TYPE with a type of {known}")
    return column, kind


def _option(name: str, text: str, **more: Any) -> Callable[[Callable[..., Any]], Any]:
    """An option for a setting of TrainConfig, whose known values are those of CHOICES."""
    setting = name.removeprefix("--").replace("-", "_")
    if setting in CHOICES:
        more["type"] = click.Choice(CHOICES[setting])
    return click.option(name, help=text, **more)


# The options of `train` and `tune`: fields of TrainConfig, and the workdir.
_SETTINGS = [
    _option("--data", f"{SYNTAX}.  [default: {DEFAULT_DATA}]"),
    _option("--data-dir", "Folder with the files of data sets."),
    _option("--corrections", "Folder of the page's corrections, to learn from too.", metavar="DIR"),
    _option("--target", "Column of a table to predict."),
    _option("--task", "Task for a table.  [default: from the target]"),
    _option(
        "--ignore",
        "Column of a table to leave out; may be repeated.",
        multiple=True,
        metavar="COLUMN",
        callback=lambda _ctx, _option, columns: columns or None,
    ),
    click.option(
        "--type",
        "types",
        type=_typed_column,
        multiple=True,
        metavar="COLUMN=TYPE",
        callback=lambda _ctx, _option, types: dict(types) or None,
        help=f"Type of a column: {', '.join(CHOICES['types'])}.  [default: from its values]",
    ),
    _option("--image-size", "Height and width to which images of a folder are resized.", type=int),
    _option("--name", "Publish under this name.  [default: MODEL]"),
    _option(
        "--workdir", "Folder for models/ and runs/.", default=".", type=click.Path(path_type=Path)
    ),
    _option("--api", "Keras, or plain TensorFlow."),
    _option("--preset", "Architecture of the cnn."),
    _option("--pretrained", "Backbone of the cnn: FILE.keras or, e.g., MobileNetV2."),
    _option("--pretrained-input", "Pixel values that the backbone expects.  [default: auto]"),
    _option("--fine-tune", "Epochs that also train the backbone.", type=int),
    _option("--hidden", "Sizes of an mlp's hidden layers.", type=_sizes, metavar="N,N,…"),
    _option("--activation", "Activation of the hidden layers."),
    _option("--epochs", "Maximum number of passes over the training data.", type=int),
    _option("--batch-size", "Examples per step.", type=int),
    _option("--learning-rate", "Peak learning rate.", type=float),
    _option("--augmentation", "Strength of augmentation; 0 is none.", type=float),
    _option(
        "--validation-fraction",
        "Share of the training data used for validation; 0 is none.",
        type=float,
    ),
    _option(
        "--patience", "Stop after this many epochs without progress; 0 never stops early.", type=int
    ),
    _option("--l2", "Penalty on large weights, 1/C; 0 is none.", type=float),
    _option("--class-weights", "Weight classes equally; auto: if one is rare."),
    _option("--mixed-precision", "Compute in bfloat16; auto: if the GPU does."),
    _option(
        "--quantize",
        "Smaller LiteRT files, if accuracy drops by at most 0.3 points.  [without value: dynamic]",
        is_flag=False,
        flag_value="dynamic",
    ),
    _option("--tensorboard/--no-tensorboard", "Write TensorBoard logs into the run.", default=None),
    _option("--seed", "Random seed; the same seed gives the same model.", type=int),
    _option("--test-fraction", "Share of the data held out for testing.", type=float),
    _option(
        "--split",
        "Split of a table: keep groups together, or hold out the latest rows.",
        metavar="random|group:COLUMN|time:COLUMN",
    ),
    _option("--validation", "CSV file or folder to validate with.", metavar="PATH"),
    _option("--test", "CSV file or folder to test with.", metavar="PATH"),
    _option(
        "--folds", "Folds of cross-validation before training on a table; 0 is none.", type=int
    ),
]


def _settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of _SETTINGS to a command."""
    for option in reversed(_SETTINGS):
        command = option(command)
    return command


@click.command(epilog="Example: rockstar train cnn --data digits")
@click.argument("model", type=click.Choice(CHOICES["model"]), required=False)
@click.option(
    "--config", type=click.Path(path_type=Path), help="Read settings from a run's config.json."
)
@_settings
@click.option("--watch", is_flag=True, help="Show the training in the browser.")
@click.option(
    "--mlflow",
    is_flag=False,
    flag_value="",
    metavar="URI",
    help="Log to MLflow, and register the version.  [without value: $MLFLOW_TRACKING_URI]",
)
@click.option("--replace", is_flag=True, help="Publish even if labels, inputs or data differ.")
@click.option("--serve-anyway", is_flag=True, help="Serve it even if it is less accurate.")
@json_option
def train(
    model: str | None,
    config: Path | None,
    workdir: Path,
    watch: bool,
    mlflow: str | None,
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
    if model is None and mlflow in CHOICES["model"]:
        model, mlflow = mlflow, ""  # of "--mlflow cnn", which has no URI
    if config is not None:
        chosen = read_config(config, model=model, **settings)
    elif model is not None:
        chosen = config_for(model, **settings)
    else:
        raise click.UsageError(
            f"say which model: {', '.join(CHOICES['model'])}; or give --config FILE"
        )
    how = {"replace": replace, "serve_anyway": serve_anyway, "mlflow": mlflow}
    try:
        if not (watch and is_chief()):
            _train(chosen, workdir, as_json, how)
            return
        from rockstar_cli.watch import serve_page

        with serve_page(workdir / "runs", []) as (_, show):
            _train(chosen, workdir, as_json, how | {"watch": show})
    except StoppedError as error:
        click.echo(f"\n{error}", err=True)
        raise click.exceptions.Exit(Exit.INTERRUPTED) from error


def _train(config: TrainConfig, workdir: Path, as_json: bool, how: dict[str, Any]) -> None:
    """Train; `how` has further arguments of train_and_evaluate."""
    from rockstar_training.progress import show_progress, summarize
    from rockstar_training.tracking import require_mlflow

    if how["mlflow"] is not None:
        require_mlflow()
    data = _prepare(config, workdir, how["replace"])
    click.echo("Loading TensorFlow …", err=True)
    from rockstar_training.train import cross_validate, take_part, train_and_evaluate

    folds = cross_validate(config, partial(click.echo, err=True)) if config.folds else None
    with show_progress(f"Training {config.name}", config.epochs + config.fine_tune) as progress:
        if not is_chief():
            take_part(config, workdir, progress, data)
            return
        result = train_and_evaluate(config, workdir, progress, data, folds, **how)
    if as_json:
        echo_json(_described(result))
    else:
        click.echo(summarize(result, shown=data.notes))


def _prepare(config: TrainConfig, workdir: Path, replace: bool) -> "PreparedData":
    """Report wrong arguments and data before importing TensorFlow, which takes seconds."""
    from rockstar_training.contract_builder import require_compatible
    from rockstar_training.prepared_data import prepare_data
    from rockstar_training.progress import describe

    require_writable(workdir)
    click.echo(f"Reading {config.data} …", err=True)
    data = prepare_data(config)
    click.echo(describe(data), err=True)
    if not replace:
        require_compatible(workdir / "models", config.name, data)
    return data


def _described(result: "TrainingResult") -> dict[str, Any]:
    return {
        "model": result.contract.model,
        "version": result.contract.version,
        "task": result.contract.task,
        "path": str(result.folder),
        "run": str(result.run_folder),
        "metrics": result.metrics,
        "epochs": len(result.history),
        "seconds": result.seconds,
        "notes": result.notes,
        "held": result.held or None,
    }


@click.command(epilog="Example: rockstar tune mlp --trials 30 --batch-size 64")
@click.argument("model", type=click.Choice(CLASSIFIERS))
@_settings
@click.option("--trials", type=click.IntRange(1), default=20, help="Number of settings to try.")
@click.option("--cpus", type=click.IntRange(1), default=1, help="Cores per trial.")
@click.option(
    "--gpus",
    type=click.FloatRange(0),
    help="GPUs per trial, also a fraction.  [default: 1 if there is any]",
)
@click.option(
    "--address",
    envvar="RAY_ADDRESS",
    help="Ray cluster, HOST:PORT or auto; also RAY_ADDRESS.  [default: this machine]",
)
@click.option("--dry-run", is_flag=True, help="Publish nothing.")
@click.option("--replace", is_flag=True, help="Publish even if labels, inputs or data differ.")
@click.option("--serve-anyway", is_flag=True, help="Serve it even if it is less accurate.")
@json_option
@click.pass_context
def tune(
    ctx: click.Context,
    /,
    model: str,
    workdir: Path,
    trials: int,
    cpus: int,
    gpus: float | None,
    address: str | None,
    dry_run: bool,
    replace: bool,
    serve_anyway: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Search the best settings of a MODEL, and publish the model trained with them.

    Searched are the learning rate, batch size, hidden layers, augmentation and l2, as far as the
    model has them; give a setting to leave it out of the search. The first trial has the defaults.
    Trials are compared by the loss on the validation data, and bad ones are stopped early. As many
    run at once as there are cores.

    After Ctrl-C or a crash, or to publish after --dry-run, repeat the command: it continues.
    """
    from rockstar_cli.engines import require_ray
    from rockstar_training.progress import show_progress, summarize

    if address:
        require_ray(address)
    from rockstar_training.tuning import VALIDATION, best_of, search, search_folder, take_over

    settings = {name: value for name, value in settings.items() if value is not None}
    if has_several_workers():
        raise ConfigError("TF_CONFIG: expected none, as each trial trains in one process")
    config = config_for(model, **settings)
    if not config.validation_fraction and config.validation is None:
        # Without validation data by default, but trials must be compared.
        settings["validation_fraction"] = VALIDATION
        config = config_for(model, **settings)
    data = _prepare(config, workdir, replace)
    if not data.validation.count:
        raise ConfigError("validation_fraction: expected more than 0, as trials are compared by it")
    folder = search_folder(workdir, model, settings, trials, data)
    with locked(folder, f"search for {config.name}"):
        found = search(
            model, settings, folder, trials=trials, cpus=cpus, gpus=gpus, address=address
        )
        best = best_of(found)
        chosen = settings | (best.settings if best else {})
        command = shlex.join(_train_command(ctx, chosen, model, workdir)) if best else None
        if not as_json:
            _show_trials(found, best, command)
        for trial in found:
            if trial.state == "failed":
                click.echo(f"Trial {trial.number} failed: {trial.error}", err=True)
        if len(found) < trials or any(trial.state == "unfinished" for trial in found):
            click.echo("Stopped; nothing was published. The same command continues.", err=True)
            raise click.exceptions.Exit(Exit.INTERRUPTED)
        if best is None:
            raise TrainingError(f"none of {trials} trials is complete: {found[0].error}")
        document: dict[str, Any] = {"command": command, "best": best, "trials": found}
        if not dry_run:
            click.echo("Loading TensorFlow …", err=True)
            from rockstar_training.train import train_and_evaluate

            config = config_for(model, **chosen)
            take_over(folder, workdir, config, data)
            with show_progress(
                f"Training {config.name}", config.epochs + config.fine_tune
            ) as progress:
                result = train_and_evaluate(
                    config, workdir, progress, data, replace=replace, serve_anyway=serve_anyway
                )
            document["published"] = _described(result)
            shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        echo_json(document)
    elif not dry_run:
        click.echo(summarize(result, shown=data.notes))


def _train_command(
    ctx: click.Context, settings: dict[str, Any], model: str, workdir: Path
) -> list[str]:
    """Return the command that trains with these settings."""
    words = ["rockstar", "train", model]
    values = settings | ({} if workdir == Path() else {"workdir": workdir})
    for option in ctx.command.params:
        value = values.get(option.name or "")
        if value is None:
            continue
        if isinstance(value, bool):
            words.append(option.opts[0] if value else option.secondary_opts[0])
        elif option.multiple:
            pairs = [f"{a}={b}" for a, b in value.items()] if isinstance(value, dict) else value
            words += [word for each in pairs for word in (option.opts[0], each)]
        else:
            words += [option.opts[0], _shown(value)]
    return words


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _show_trials(found: "Sequence[Trial]", best: "Trial | None", command: str | None) -> None:
    """Print the best trials in a table of at most 80 columns, and the command for the best."""
    names = {"learning_rate": "rate", "batch_size": "batch", "augmentation": "augment"}
    ordered = sorted(
        (trial for trial in found if trial.val_loss is not None),
        key=lambda trial: (trial.state != "complete", trial.val_loss),
    )
    searched = list(ordered[0].settings) if ordered else []
    rows = [
        (
            str(trial.number),
            *(_shown(trial.settings[name]) for name in searched),
            str(trial.epochs),
            f"{trial.val_loss:.4g}",
            "–" if trial.val_accuracy is None else f"{trial.val_accuracy:.4f}",
            "best" if trial is best else trial.state,
        )
        for trial in ordered[:_TRIALS_SHOWN]
    ]
    header = ("trial", *(names.get(name, name) for name in searched))
    header += ("epochs", "loss", "accuracy", "")
    if rows:
        click.echo(table([header, *rows], right=set(range(len(header) - 1))))
    counts = Counter(trial.state for trial in found)
    states = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    click.echo(f"{len(found)} trials: {states}")
    if command is not None:
        click.echo(f"Best settings: {command}")
