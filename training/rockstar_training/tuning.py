"""Hyperparameter search with Ray Tune: random settings, of which ASHA stops the bad ones early.

The first trial has the default settings, the others are drawn at random. Each trains in a process
of its own as `rockstar train` does, and saves checkpoints in the folder of the search. So a search
that is repeated continues where it stopped, and the best trial is published without another
training. The folder must be shared by all machines of a cluster.

ASHA, asynchronous successive halving: https://arxiv.org/abs/1810.05934
"""

import contextlib
import hashlib
import io
import json
import logging
import math
import os
import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import BasicVariantGenerator

from rockstar_training.config import TrainConfig, config_for
from rockstar_training.errors import ConfigError, TrainingError
from rockstar_training.progress import progress_bar
from rockstar_training.runs import UNFINISHED_FOLDER

if TYPE_CHECKING:
    from rockstar_training.prepared_data import PreparedData
    from rockstar_training.progress import Epoch

# Settings that can be searched.
SEARCHED = ("learning_rate", "batch_size", "hidden", "augmentation", "l2")
# Share of the training data to compare trials on, for models whose defaults have none.
VALIDATION = 0.2
# A third of the trials goes on at a ninth and at a third of the epochs.
_REDUCTION = 3
# Ray reserves this for objects, which a search hardly has; by default, 30 % of the memory.
_OBJECT_STORE_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Trial:
    """A trial of a search, and the metrics of its last epoch, or of the one that it kept."""

    number: int  # from 1
    settings: dict[str, Any]  # those that were searched
    state: Literal["complete", "stopped", "failed", "unfinished"]  # stopped: by ASHA
    epochs: int = 0  # trained
    val_loss: float | None = None
    val_accuracy: float | None = None  # None for a regression
    error: str = ""  # why it failed, in one line


def search_folder(
    workdir: Path, model: str, settings: Mapping[str, Any], trials: int, data: "PreparedData"
) -> Path:
    """Return the folder of a search, the same for the same settings and data."""
    document = json.dumps([model, dict(settings), trials, data.train.count], default=str)
    digest = hashlib.sha256(document.encode())
    digest.update(data.train.targets.tobytes())
    name = f"{settings.get('name') or model}-tuning-{digest.hexdigest()[:12]}"
    return workdir.resolve() / "runs" / UNFINISHED_FOLDER / name


def search(
    model: str,
    settings: Mapping[str, Any],
    folder: Path,
    *,
    trials: int,
    cpus: int = 1,
    gpus: float | None = None,
    address: str | None = None,
) -> list[Trial]:
    """Search the settings of a model that are not given; continue an earlier search in the folder.

    Trials are compared by their validation loss. Ctrl-C ends the search; some trials are then
    unfinished or missing in the result.

    Args:
        model: type of the network.
        settings: fields of TrainConfig by name, which all trials have; with validation data.
        folder: of the search, absolute.
        trials: number of settings to try.
        cpus: cores, and threads of TensorFlow, per trial.
        gpus: per trial, also a fraction; None is 1 if there is any.
        address: of a Ray cluster; None is this machine.

    Returns:
        The trials, in the order in which they were started.

    Raises:
        ConfigError: no setting is left to search, or a trial needs more than the machine has.
        TrainingError: the cluster cannot be reached.
    """
    config = config_for(model, **settings)
    space = _space(config, settings.keys())
    _start_ray(address)
    try:
        found = ray.cluster_resources()
        if address is None and cpus > found["CPU"]:
            raise ConfigError(
                f"cpus: expected at most {found['CPU']:g}, which there are, got {cpus}"
            )
        if gpus is None:
            gpus = 1.0 if found.get("GPU") else 0.0
        trainable = tune.with_resources(
            tune.with_parameters(
                _train,
                model=model,
                settings=dict(settings),
                workdir=str(folder),
                place=str(Path.cwd()),
                threads=cpus,
            ),
            {"cpu": cpus, "gpu": gpus},
        )
        # Ray prints a banner also when it is told to be quiet.
        with contextlib.redirect_stdout(io.StringIO()):
            results = _tuner(trainable, config, space, folder, trials).fit()
        # Directories are numbered; Ray sorts the trials of a continued search by their state.
        started = sorted(results, key=lambda result: Path(result.path).name)
        return [_trial(number, result) for number, result in enumerate(started, start=1)]
    finally:
        ray.shutdown()


def take_over(folder: Path, workdir: Path, config: TrainConfig, data: "PreparedData") -> None:
    """Move the checkpoint of a search's trial to where `train_and_evaluate` continues from it."""
    from rockstar_training.fit import unfinished_folder  # imports TensorFlow

    trained, to = (
        unfinished_folder(place / "runs", config, data.train) for place in (folder, workdir)
    )
    if trained.is_dir() and not to.exists():
        shutil.move(trained, to)


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """Return the complete trial with the lowest validation loss; None if none is complete."""
    complete = [trial for trial in trials if trial.state == "complete"]
    return min(complete, key=_rank, default=None)


def _rank(trial: Trial) -> float:
    return math.inf if trial.val_loss is None else trial.val_loss


def _space(config: TrainConfig, given: Collection[str]) -> dict[str, Any]:
    """Return the values to draw for each setting that the model has and that is not given."""
    space: dict[str, Any] = {}
    rate, size = config.learning_rate, config.batch_size
    if rate is not None:
        space["learning_rate"] = tune.loguniform(rate / 10, min(10.0, rate * 10))
    space["batch_size"] = tune.choice(
        sorted({max(1, size // 4), max(1, size // 2), size, 2 * size})
    )
    if first := config.hidden[:1]:
        other = first if len(config.hidden) > 1 else (first[0], max(1, first[0] // 2))
        half, double = ([max(1, int(n * f)) for n in config.hidden] for f in (0.5, 2))
        # Ray takes lists for nested settings.
        space["hidden"] = tune.choice(
            [_joined(each) for each in (config.hidden, other, half, double)]
        )
    if config.augmentation:
        space["augmentation"] = tune.uniform(0.0, min(3.0, 2 * config.augmentation))
    if config.l2:
        space["l2"] = tune.loguniform(config.l2 / 100, config.l2 * 100)
    space = {name: values for name, values in space.items() if name not in given}
    if not space:
        raise ConfigError(f"nothing to search: leave out one of {', '.join(SEARCHED)}")
    return space


def _joined(sizes: Sequence[int]) -> str:
    return ",".join(map(str, sizes))


def _rounded(drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Return drawn values as fields of TrainConfig, rounded to what a command line shows."""
    settings: dict[str, Any] = {
        name: float(f"{value:.3g}") if isinstance(value, float) else value
        for name, value in drawn.items()
    }
    if "hidden" in settings:
        settings["hidden"] = tuple(map(int, settings["hidden"].split(",")))
    return settings


def _start_ray(address: str | None) -> None:
    # Ray would send usage statistics, and log to this terminal what trials print.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Writes for each trial what its results say anyway.
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    local: dict[str, Any] = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            **({} if address else local),
        )
    except Exception as error:  # of several types, Exception itself if this machine is overloaded
        first = str(error).strip().partition("\n")[0]
        place = f"connect to the cluster at {address}" if address else "start on this machine"
        raise TrainingError(f"Ray cannot {place}: {first}") from error
    logging.getLogger("ray").setLevel(logging.CRITICAL)


def _tuner(
    trainable: Any, config: TrainConfig, space: dict[str, Any], folder: Path, trials: int
) -> Any:
    path = str(folder / "tune")
    if tune.Tuner.can_restore(path):
        return tune.Tuner.restore(path, trainable)
    epochs = config.epochs + config.fine_tune
    # One more, so that ASHA stops no trial that has trained all epochs.
    asha = ASHAScheduler(
        time_attr="epoch",
        max_t=epochs + 1,
        grace_period=max(1, epochs // _REDUCTION**2),
        reduction_factor=_REDUCTION,
    )
    defaults = {name: getattr(config, name) for name in space}
    if "hidden" in defaults:
        defaults["hidden"] = _joined(defaults["hidden"])
    return tune.Tuner(
        trainable,
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="val_loss",
            mode="min",
            num_samples=trials,
            scheduler=asha,
            search_alg=BasicVariantGenerator([defaults], random_state=config.seed),
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder),
            verbose=0,
            callbacks=[_Progress(f"Tuning {config.name}", trials)],
        ),
    )


def _train(
    drawn: dict[str, Any],
    *,
    model: str,
    settings: dict[str, Any],
    workdir: str,
    place: str,
    threads: int,
) -> None:
    """Train a trial in a process of Ray, and report its epochs."""
    if Path(place).is_dir():  # Ray changes it, but paths of data may be relative
        os.chdir(place)
    # TensorFlow starts a thread for each core by default, in each of the trials at once.
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(name, str(threads))
    config = config_for(model, **{**settings, **_rounded(drawn)})
    from rockstar_training.train import take_part

    best = math.inf

    def report(epoch: "Epoch") -> None:
        nonlocal best
        loss = math.inf if epoch.val_loss is None else epoch.val_loss
        best = min(best, loss)
        # With patience, the weights of the best epoch are kept.
        tune.report(
            {
                "val_loss": best if config.patience else loss,
                "val_accuracy": epoch.val_accuracy,
                "epoch": epoch.number,
            }
        )

    history = take_part(config, Path(workdir), report)
    kept = history[-1]
    if config.patience:
        kept = min(
            history, key=lambda epoch: math.inf if epoch.val_loss is None else epoch.val_loss
        )
    tune.report(
        {
            "val_loss": kept.val_loss,
            "val_accuracy": kept.val_accuracy,
            "epoch": history[-1].number,
            "complete": True,
        }
    )


def _trial(number: int, result: Any) -> Trial:
    metrics = result.metrics or {}
    state: Literal["complete", "stopped", "failed", "unfinished"] = "unfinished"
    if result.error is not None:
        state = "failed"
    elif metrics.get("complete"):
        state = "complete"
    elif metrics.get("done"):
        state = "stopped"
    return Trial(
        number=number,
        settings=_rounded(result.config or {}),
        state=state,
        epochs=metrics.get("epoch", 0),
        val_loss=metrics.get("val_loss"),
        val_accuracy=metrics.get("val_accuracy"),
        error=_one_line(result.error) if result.error is not None else "",
    )


def _one_line(error: Exception) -> str:
    """Return the message of a trial's exception, without the traceback that Ray adds."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not isinstance(error, ray.exceptions.RayTaskError):
        return lines[0] if lines else type(error).__name__
    _, _, message = lines[-1].partition(": ")
    return message or lines[-1]


class _Progress(tune.Callback):  # type: ignore[misc]
    """Shows how many trials have ended: a bar on a terminal, a line for each trial elsewhere.

    Ray saves it with the search, so it opens the bar only when the search starts.
    """

    def __init__(self, label: str, trials: int) -> None:
        self._label, self._trials = label, trials

    def setup(self, **_: Any) -> None:
        """Start to show progress."""
        self._best, self._bar = math.inf, progress_bar(self._label, self._trials, sys.stderr)

    def on_trial_result(self, trials: list[Any], result: dict[str, Any], **_: Any) -> None:
        """Show the counts of trials."""
        if result.get("complete"):
            self._best = min(self._best, result["val_loss"])
        self._show(trials)

    def on_trial_complete(self, trials: list[Any], trial: Any, **_: Any) -> None:
        """Show that a trial is complete or stopped."""
        result = trial.last_result or {}
        how = "complete" if result.get("complete") else "stopped"
        loss = result.get("val_loss", math.nan)
        self._ended(trials, trial, f"{how} after epoch {result.get('epoch')}, loss {loss:.3g}")

    def on_trial_error(self, trials: list[Any], trial: Any, **_: Any) -> None:
        """Show that a trial failed."""
        self._ended(trials, trial, "failed")

    def on_experiment_end(self, trials: list[Any], **_: Any) -> None:
        """End the bar."""
        self._show(trials)
        self._bar.close()

    def _ended(self, trials: list[Any], trial: Any, how: str) -> None:
        if self._bar.disable:
            number = sorted(each.trial_id for each in trials).index(trial.trial_id) + 1
            click.echo(f"{self._label}: trial {number} of {self._trials} {how}", err=True)
        self._show(trials)

    def _show(self, trials: list[Any]) -> None:
        states = [trial.status for trial in trials]
        running = states.count("RUNNING")
        ended = states.count("TERMINATED") + states.count("ERROR")
        best = "" if self._best == math.inf else f", best {self._best:.3g}"
        self._bar.set_postfix_str(f"{running} running{best}", refresh=False)
        self._bar.update(ended - self._bar.n)
