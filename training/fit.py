"""The training loop, the same for both APIs: epochs, validation, early stopping, checkpoints."""

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.augmentation import augmentation_for
from training.checkpoint import Checkpoints
from training.config import TrainConfig
from training.distribution import dtype_policy, is_chief
from training.errors import StoppedError, TrainingError
from training.network import Network, copy_weights, create, detached
from training.pipeline import Order, Part, batches, in_memory, steps_per_epoch
from training.progress import Epoch, Progress
from training.schedule import height, schedule
from training.steps import Score, Steps
from training.task import Task
from training.tensorboard import Board
from training.tensorflow_setup import tf

# Examples in one step of validation, over all devices.
_VALIDATION_BATCH = 512


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained network, ready to be evaluated and exported.

    Attributes:
        network: trained.
        history: what its epochs were like.
        notes: sentences about how it went: resumed, or stopped early.
    """

    network: Network
    history: list[Epoch]
    notes: tuple[str, ...] = ()


def fit(
    task: Task,
    train: Part,
    validation: Part | None,
    config: TrainConfig,
    *,
    progress: Progress | None = None,
    folder: Path | None = None,
    strategy: Any = None,
    watch: Callable[[Network], None] | None = None,
    start: Network | None = None,
) -> Fitted:
    """Train a network.

    Args:
        task: what it is to learn.
        train: what it learns from.
        validation: what it is watched with; None is nothing.
        config: everything else. Where it has patience, the weights of the best epoch are kept,
            and after so many epochs without a better one training stops.
        progress: called at the end of every epoch.
        folder: for checkpoints, from which a training that was stopped goes on, and TensorBoard's
            logs; None has neither.
        strategy: a tf.distribute.Strategy; None is this process's own.
        watch: shown the network before the first epoch and after each.
        start: a network on a pretrained backbone, which is trained on as a whole; None trains a
            new network, with a pretrained backbone left as it is.

    Raises:
        ConfigError: the model cannot learn this task.
        TrainingError: the loss grows beyond all numbers, or checkpoints cannot be written.
        StoppedError: somebody pressed Ctrl-C.
    """
    strategy = tf.distribute.get_strategy() if strategy is None else strategy
    loop = _Loop(task, in_memory(train), validation, config, strategy, folder, start)
    try:
        loop.run(progress, watch)
    except KeyboardInterrupt as error:
        raise StoppedError(loop.interruption()) from error
    return Fitted(detached(loop.network, config), loop.history, loop.notes())


class _Loop:
    """One training: its variables, and where it is."""

    def __init__(
        self,
        task: Task,
        train: Part,
        validation: Part | None,
        config: TrainConfig,
        strategy: Any,
        folder: Path | None,
        start: Network | None,
    ) -> None:
        self.config, self.strategy, self.folder = config, strategy, folder
        self.train = train
        self.validation = self._validation(validation)
        self.steps = steps_per_epoch(train.count, config.batch_size)
        self.rate = schedule(config, height(config, train), self.steps)
        with strategy.scope():
            policy = dtype_policy(config.mixed_precision)
            self.network = create(config, task, policy, unfrozen=start is not None)
            if start is not None:
                copy_weights(start, self.network)
            optimizer = self.network.optimizer(self.rate)
        self.runner = Steps(self.network, optimizer, strategy, config.l2 / train.count)
        self.history: list[Epoch] = []
        self.resumed = 0
        self.best_loss, self.waited, self.saved = math.inf, 0, 0
        self.best = [tf.Variable(v.numpy(), trainable=False) for v in self._watched()]
        self.checkpoints: Checkpoints | None = None
        if folder is not None:
            variables = [*self.network.state, *optimizer.state, *self.best]
            self.checkpoints = Checkpoints(folder, variables, is_chief())

    def _validation(self, part: Part | None) -> tuple[Any, int] | None:
        """Batches of the validation data, made once for all epochs, and how many they are."""
        if part is None or not part.count:
            return None
        steps = steps_per_epoch(part.count, _VALIDATION_BATCH)
        order = Order(_VALIDATION_BATCH)
        return batches(in_memory(part), order, 0, steps, self.strategy), steps

    def run(
        self, progress: Progress | None, watch: Callable[[Network], None] | None = None
    ) -> None:
        """All epochs that are left."""
        self._resume()
        if watch is not None:
            watch(self.network)
        first, config = len(self.history), self.config
        order = Order(
            config.batch_size,
            config.seed,
            augmentation_for(config.data, config.augmentation),
        )
        last_step = config.epochs * self.steps
        data = batches(self.train, order, first * self.steps, last_step, self.strategy)
        iterator = iter(data)
        with Board(self._logs()) as board:
            while len(self.history) < config.epochs and not self._had_enough():
                epoch = self._epoch(iterator)
                self.history.append(epoch)
                self._save()
                board.show(epoch)
                if watch is not None:
                    watch(self.network)
                if progress is not None:
                    progress(epoch)
        if self.best:
            for variable, best in zip(self.network.weights, self.best, strict=True):
                variable.assign(best)

    def notes(self) -> tuple[str, ...]:
        """How it went, where that is not as usual."""
        notes = []
        if self.resumed:
            notes.append(f"Training was stopped before; it went on after epoch {self.resumed}.")
        if self._had_enough() and len(self.history) < self.config.epochs:
            notes.append(
                f"Training ended after epoch {len(self.history)} of {self.config.epochs}: the "
                f"validation loss was no better for {self.waited} epochs. The best one was kept."
            )
        return tuple(notes)

    def interruption(self) -> str:
        """What to say after Ctrl-C."""
        at = f"Training stopped in epoch {len(self.history) + 1} of {self.config.epochs}"
        if not self.saved:
            return f"{at}; nothing was published, and no checkpoint was due yet."
        return f"{at}; nothing was published. The same command goes on after epoch {self.saved}."

    def _epoch(self, iterator: Any) -> Epoch:
        started = time.perf_counter()
        number = len(self.history) + 1
        trained = self.runner.train(iterator, self.steps)
        if not math.isfinite(trained.loss):
            raise TrainingError(
                f"the loss became {trained.loss} in epoch {number}: try a --learning-rate below "
                f"{height(self.config, self.train):g}, and look for very large values in the data"
            )
        seen = self._validate()
        epoch = Epoch(
            number,
            self.config.epochs,
            trained.loss,
            trained.accuracy,
            val_loss=None if seen is None else seen.loss,
            val_accuracy=None if seen is None else seen.accuracy,
            learning_rate=float(self.rate(tf.constant(number * self.steps - 1))),
            seconds=time.perf_counter() - started,
        )
        return dataclasses.replace(epoch, last=number == epoch.epochs or self._had_enough())

    def _validate(self) -> Score | None:
        """Score the validation data and keep the weights if they are the best so far."""
        if self.validation is None:
            return None
        data, steps = self.validation
        score = self.runner.evaluate(iter(data), steps)
        if score.loss < self.best_loss:
            self.best_loss, self.waited = score.loss, 0
            for best, variable in zip(self.best, self._watched(), strict=True):
                best.assign(variable.numpy())
        else:
            self.waited += 1
        return score

    def _had_enough(self) -> bool:
        return 0 < self.config.patience <= self.waited

    def _watched(self) -> list[Any]:
        stops_early = self.config.patience and self.validation is not None
        return self.network.weights if stops_early else []

    def _logs(self) -> Path | None:
        wanted = self.config.tensorboard and self.folder is not None and is_chief()
        return self.folder / "tensorboard" if wanted and self.folder else None

    def _save(self) -> None:
        if self.checkpoints is None:
            return
        if self.checkpoints.save(self._notes):
            self.saved = len(self.history)

    def _notes(self) -> dict[str, Any]:
        return {
            "history": [dataclasses.asdict(epoch) for epoch in self.history],
            "best_loss": self.best_loss,
            "waited": self.waited,
        }

    def _resume(self) -> None:
        notes = None if self.checkpoints is None else self.checkpoints.restore()
        if notes is not None:
            self.history = [Epoch(**epoch) for epoch in notes["history"]]
            self.best_loss, self.waited = notes["best_loss"], notes["waited"]
            self.saved = self.resumed = len(self.history)
        self._agree()

    def _agree(self) -> None:
        """All workers start with the same epoch, or they would wait for each other forever."""
        if self.strategy.num_replicas_in_sync == 1:
            return
        own = len(self.history)
        each = self.strategy.run(lambda: tf.constant(float(own)))
        mean = float(self.strategy.reduce(tf.distribute.ReduceOp.MEAN, each, axis=None))
        if mean != own:
            raise TrainingError(
                f"the workers would not start with the same epoch (here {own + 1}): they need a "
                "work folder that they share, or remove its runs/.unfinished on all of them"
            )
