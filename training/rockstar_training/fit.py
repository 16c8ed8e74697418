"""The training loop for both APIs: compiled steps, learning-rate schedule, early stopping, logs."""

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import pi
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from rockstar_training.augmentation import augmentation_for
from rockstar_training.checkpoint import Checkpoints
from rockstar_training.config import TrainConfig
from rockstar_training.distribution import dtype_policy, is_chief
from rockstar_training.errors import StoppedError, TrainingError
from rockstar_training.network import Network, Optimizer, Schedule, copy_weights, create, detached
from rockstar_training.pipeline import Batch, Order, Part, batches, in_memory, steps_per_epoch
from rockstar_training.progress import Epoch, Progress
from rockstar_training.task import Task
from rockstar_training.tensorflow_setup import Tensor, tf

# Steps in one call: enough to forget what a call costs, few enough to answer Ctrl-C soon.
CHUNK = 16


@dataclass(frozen=True)
class Score:
    """What a network is worth on some examples.

    Attributes:
        loss: mean cross-entropy in nats, or mean squared error in units of the targets' variance
            (the linear model: as it is).
        accuracy: share whose likeliest label is right; None for a regression.
    """

    loss: float
    accuracy: float | None


class Steps:
    """Runs a network over batches.

    Args:
        network: made in the strategy's scope.
        optimizer: likewise.
        strategy: a tf.distribute.Strategy.
        l2: training minimises the mean loss plus half of this times the sum of the squared
            kernels; biases are free.
    """

    def __init__(
        self, network: Network, optimizer: Optimizer, strategy: Any, l2: float = 0.0
    ) -> None:
        self._network, self._optimizer, self._strategy = network, optimizer, strategy
        self._l2 = l2 / strategy.num_replicas_in_sync
        self._train = tf.function(self._train_steps, reduce_retracing=True)
        self._evaluate = tf.function(self._evaluate_steps, reduce_retracing=True)

    def train(self, iterator: Any, count: int) -> Score:
        """Take a step with each of the next batches."""
        return self._run(self._train, iterator, count)

    def evaluate(self, iterator: Any, count: int) -> Score:
        """Score the next batches."""
        return self._run(self._evaluate, iterator, count)

    def _run(self, function: Any, iterator: Any, count: int) -> Score:
        totals = None
        for start in range(0, count, CHUNK):
            new = function(iterator, tf.constant(min(CHUNK, count - start)))
            # Looking at the numbers waits for them, which is also when Ctrl-C is heard.
            totals = new.numpy() if totals is None else totals + new.numpy()
        if totals is None:
            raise ValueError("there is nothing to run over")
        examples, loss, right = totals.tolist()
        accuracy = right / examples if self._network.task.classes is not None else None
        return Score(loss / examples, accuracy)

    def _train_steps(self, iterator: Any, count: Tensor) -> Tensor:
        return self._sums(iterator, count, self._train_step)

    def _evaluate_steps(self, iterator: Any, count: Tensor) -> Tensor:
        return self._sums(iterator, count, self._evaluate_step)

    def _sums(self, iterator: Any, count: Tensor, step: Any) -> Tensor:
        # float64: an epoch's sum would lose what a single example adds to it.
        sums = tf.zeros([3], tf.float64)
        for _ in tf.range(count):
            each = self._strategy.run(step, args=(next(iterator),))
            sums += self._strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None)
        return sums

    def _train_step(self, batch: Batch) -> Tensor:
        with tf.GradientTape() as tape:
            inputs, known = batch.inputs, tf.shape(batch.inputs)[0]
            if batch.others.shape.rank > 1:
                inputs = tf.concat([inputs, batch.others], axis=0)
            scores = self._network.scores(inputs, batch.seed)
            scores, others = scores[:known], scores[known:]
            losses = self._losses(scores, batch)
            # This replica's share of the mean over the whole batch.
            loss = tf.reduce_sum(losses) / batch.size
            if batch.others.shape.rank > 1:
                # What shows no class should get the same probability for each.
                loss -= tf.reduce_sum(tf.reduce_mean(tf.nn.log_softmax(others), 1)) / batch.size
            if self._l2:
                kernels = [v for v in self._network.trainable if len(v.shape) > 1]
                loss += self._l2 * tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels])
        self._optimizer.apply(tape.gradient(loss, self._network.trainable))
        return self._counted(scores, losses, batch)

    def _evaluate_step(self, batch: Batch) -> Tensor:
        scores = self._network.scores(batch.inputs)
        return self._counted(scores, self._losses(scores, batch), batch)

    def _losses(self, scores: Tensor, batch: Batch) -> Tensor:
        task = self._network.task
        if task.classes is not None:
            entropy = tf.nn.sparse_softmax_cross_entropy_with_logits
            losses = batch.weights * entropy(labels=batch.targets, logits=scores)
            if task.class_weights:
                losses *= tf.gather(tf.constant(task.class_weights, tf.float32), batch.targets)
            return losses
        wanted = (tf.cast(batch.targets, tf.float32) - task.target_mean) / task.target_std
        return batch.weights * tf.square(tf.squeeze(scores, 1) - wanted)

    def _counted(self, scores: Tensor, losses: Tensor, batch: Batch) -> Tensor:
        """Examples, sum of their losses, and how many are right."""
        if self._network.task.classes is None:
            right = tf.zeros_like(batch.weights)
        else:
            guesses = tf.argmax(scores, axis=1, output_type=batch.targets.dtype)
            right = batch.weights * tf.cast(guesses == batch.targets, tf.float32)
        columns = tf.stack([batch.weights, losses, right], axis=1)
        return tf.reduce_sum(tf.cast(columns, tf.float64), axis=0)


# Share of all steps in which the rate rises to its height, but at most one epoch.
_WARMUP = 0.05
# Examples that the curvature is estimated from.
_SAMPLE = 65_536


def schedule(config: TrainConfig, rate: float, steps_per_epoch: int) -> Schedule:
    """The learning rate at a step: up a slope, then down to zero along a cosine.

    The linear model has the same rate at every step: plain gradient descent.
    """
    if config.model == "linear":
        return lambda step: tf.constant(rate, tf.float32)  # noqa: ARG005
    total = config.epochs * steps_per_epoch
    warmup = min(round(_WARMUP * total), steps_per_epoch)

    def at(step: Tensor) -> Tensor:
        step = tf.cast(step, tf.float32)
        rising = (step + 1) / (warmup + 1)
        share = tf.minimum((step - warmup) / (total - warmup), 1.0)
        falling = 0.5 * (1 + tf.cos(pi * share))
        return rate * tf.where(step < warmup, rising, falling)

    return at


def height(config: TrainConfig, train: Part) -> float:
    """The configured rate, or one over the largest curvature of the linear model's squared error.

    Gradient descent converges with less than two over it, whatever the columns' scales.
    """
    if config.learning_rate is not None:
        return config.learning_rate
    inputs = train.tensors(np.arange(min(train.count, _SAMPLE)))
    rows = inputs.reshape(len(inputs), -1).astype(np.float64)
    rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
    return float(1 / np.linalg.norm(2 / len(rows) * rows.T @ rows, ord=2))


_CURVES = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")


class Board:
    """Writes an epoch's numbers where TensorBoard finds them; nothing where there is no folder."""

    def __init__(self, folder: Path | None) -> None:
        self._writer = None if folder is None else tf.summary.create_file_writer(str(folder))

    def __enter__(self) -> "Board":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def show(self, epoch: Epoch) -> None:
        """Add the end of an epoch to the curves."""
        if self._writer is None:
            return
        with self._writer.as_default(step=epoch.number):
            for name in _CURVES:
                value = getattr(epoch, name)
                if value is not None:
                    tf.summary.scalar(name, value)
        self._writer.flush()


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
