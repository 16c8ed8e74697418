"""The training loop of both APIs: compiled steps, schedule, callbacks, and checkpoints to resume.

Keras' callbacks stop early and write TensorBoard logs. They are driven by a loop of our own because
`keras.Model.fit` trains on neither several worker processes nor the networks in plain TensorFlow.
For the same reason checkpoints are not those of keras.callbacks.BackupAndRestore, which also
restores neither early stopping nor the position in the data.
"""

import dataclasses
import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_training.augmentation import augmentation_for
from rockstar_training.config import TrainConfig, to_json
from rockstar_training.errors import StoppedError, TrainingError
from rockstar_training.indexed_job import has_several_workers, is_chief
from rockstar_training.live import AfterSteps, Observer
from rockstar_training.lowlevel import SAME
from rockstar_training.networks import Network, create, detach
from rockstar_training.pipeline import Batch, Order, batches, in_memory, steps_per_epoch
from rockstar_training.prepared_data import Part, Task
from rockstar_training.progress import Epoch, Progress
from rockstar_training.runs import LOGS_FOLDER, UNFINISHED_FOLDER, locked
from rockstar_training.tensorflow_setup import Tensor, dtype_policy, keras, tf

# Steps per call of a compiled function: enough to make its overhead negligible, but Ctrl-C works.
_STEPS_PER_CALL = 16
# Examples per validation step, over all devices.
_VALIDATION_BATCH = 512
# The learning rate rises during this share of all steps, for at most one epoch.
_WARMUP = 0.05
_SUM = tf.distribute.ReduceOp.SUM
# Examples that the curvature is estimated from.
_CURVATURE_SAMPLE = 65_536
# Of collective operations, if a worker ends.
_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)
# Not every one of the epochs shorter than this gets a checkpoint, as it costs a little time.
SECONDS_BETWEEN = 2.0


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained network."""

    network: Network  # with its variables on this device
    history: list[Epoch]  # all epochs
    notes: tuple[str, ...] = ()  # sentences: whether training was resumed or stopped early


def fit(
    task: Task,
    train: Part,
    validation: Part | None,
    config: TrainConfig,
    *,
    progress: Progress | None = None,
    folder: Path | None = None,
    strategy: Any = None,
    start: Network | None = None,
    live: Observer | None = None,
) -> Fitted:
    """Train a network.

    Args:
        task: what it learns.
        train: training data.
        validation: validation data; None for none.
        config: all settings. With patience, training stops after so many epochs without a lower
            validation loss, and the weights of the best epoch are kept.
        progress: called at the end of every epoch.
        folder: for checkpoints, from which an interrupted training continues, and TensorBoard's
            logs; None writes neither.
        strategy: a tf.distribute.Strategy; None is the current one.
        start: a trained network on a pretrained backbone, to fine-tune as a whole; None trains a
            new network, with a pretrained backbone frozen.
        live: follows the training; None for nobody.

    Raises:
        ConfigError: the model cannot learn this task.
        TrainingError: the loss became infinite or NaN, or a checkpoint cannot be written or read.
        StoppedError: interrupted by Ctrl-C.
    """
    strategy = tf.distribute.get_strategy() if strategy is None else strategy
    live = Observer() if live is None else live
    train = in_memory(train)
    steps = steps_per_epoch(train.count, config.batch_size)
    with strategy.scope():
        rate = _schedule(config, train, steps)
        policy = dtype_policy(config.mixed_precision)
        network = create(config, task, policy, unfrozen=start is not None)
        if start is not None:
            network.set_weights(start.get_weights())
        network.compile(rate)
    runner = Steps(network, strategy, validation, config.l2 / train.count)
    callbacks, stopping = _callbacks(config, network, folder, validates=runner.validates)
    checkpoints = None if folder is None else Checkpoints(folder, network, stopping, rate)
    history: list[Epoch] = []
    try:
        callbacks.on_train_begin()
        if checkpoints is not None:
            history = checkpoints.restore()
        resumed = len(history)
        _require_same_start(strategy, resumed)
        live.start(network, rate, resumed)
        augmentation = augmentation_for(config.data, config.augmentation)
        order = Order(config.batch_size, config.seed, augmentation)
        iterator = iter(batches(train, order, resumed * steps, config.epochs * steps, strategy))
        while len(history) < config.epochs and not (history and history[-1].last):
            number, started = len(history) + 1, time.perf_counter()
            live.begin_epoch(number)
            metrics = runner.train(iterator, steps, live.after_steps)
            if not math.isfinite(metrics["loss"]):
                raise TrainingError(
                    f"the loss became {metrics['loss']} in epoch {number}: try a --learning-rate "
                    f"below {rate.peak:g}, and look for very large values in the data"
                )
            metrics |= {f"val_{name}": value for name, value in runner.evaluate().items()}
            metrics["learning_rate"] = float(rate(tf.constant(number * steps - 1)))
            # Early stopping sets stop_training.
            callbacks.on_epoch_end(number - 1, dict(metrics))
            last = number == config.epochs or network.stop_training
            seconds = time.perf_counter() - started - live.waited
            history.append(Epoch(number, config.epochs, **metrics, seconds=seconds, last=last))
            if checkpoints is not None:
                checkpoints.save(history)
            if progress is not None:
                progress(history[-1])
            live.end_epoch(history[-1])
        # Early stopping restores the best weights.
        callbacks.on_train_end()
    except KeyboardInterrupt as error:
        raise StoppedError(_interruption(config, history, checkpoints)) from error
    except _LOST as error:
        if not has_several_workers():
            raise
        raise TrainingError(
            f"another worker was lost in epoch {len(history) + 1} ({type(error).__name__}): start "
            "all workers again with the same command, which continues from the last checkpoint"
        ) from error
    notes = _notes(config, history, resumed, live, stopping, rate)
    return Fitted(detach(network, config), history, notes)


def _interruption(
    config: TrainConfig, history: list[Epoch], checkpoints: "Checkpoints | None"
) -> str:
    """Say in which epoch Ctrl-C stopped the training, and where the same command continues."""
    stopped = f"Training stopped in epoch {len(history) + 1} of {config.epochs}"
    if checkpoints is None or not checkpoints.saved:
        return f"{stopped}; nothing was published, and no checkpoint was due yet."
    resume = f"The same command continues after epoch {checkpoints.saved}."
    return f"{stopped}; nothing was published. {resume}"


def _notes(
    config: TrainConfig,
    history: list[Epoch],
    resumed: int,
    live: Observer,
    stopping: Any,
    rate: "LearningRate",
) -> tuple[str, ...]:
    """Say what is not obvious from the settings: where the training began, ended and changed."""
    end = f"after epoch {len(history)} of {config.epochs}"
    notes = []
    if resumed:
        notes.append(f"Training continued from a checkpoint after epoch {resumed}.")
    if live.stopped:
        notes.append(f"Training was stopped by request {end}.")
    elif stopping is not None and len(history) < config.epochs:
        waited = f"the validation loss did not improve for {stopping.wait} epochs"
        notes.append(f"Training ended {end}: {waited}. The best epoch was kept.")
    if rate.factor != 1:
        changed = f"{rate.peak * rate.factor:g}"
        notes.append(f"The learning rate was changed by request, at last to {changed}.")
    return tuple(notes)


def _callbacks(
    config: TrainConfig, network: Network, folder: Path | None, *, validates: bool
) -> tuple[Any, Any]:
    """Create a keras.callbacks.CallbackList, and its EarlyStopping or None."""
    stopping, used = None, []
    if config.patience and validates:
        stopping = keras.callbacks.EarlyStopping(
            "val_loss", patience=config.patience, mode="min", restore_best_weights=True
        )
        used.append(stopping)
    if config.tensorboard and folder is not None and is_chief():
        logs = str(folder / LOGS_FOLDER)
        used.append(keras.callbacks.TensorBoard(logs, write_graph=False, profile_batch=0))
    return keras.callbacks.CallbackList(used, model=network), stopping


class LearningRate(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """A linear warmup to the peak, then a cosine decay to zero at the last step; or constant.

    It can be multiplied by a factor while the network is trained.
    """

    def __init__(self, peak: float, warmup: int, total: int, *, constant: bool = False) -> None:
        self.peak = peak
        self._warmup, self._total, self._constant = warmup, total, constant
        self._factor = tf.Variable(1.0, trainable=False, aggregation=SAME)

    @property
    def factor(self) -> float:
        """By which the rate is multiplied."""
        return float(self._factor.numpy())

    @factor.setter
    def factor(self, value: float) -> None:
        self._factor.assign(value)

    def __call__(self, step: Tensor) -> Tensor:
        """Return the rate at a step, counted from 0."""
        peak = self._factor * self.peak
        if self._constant:
            return peak
        step = tf.cast(tf.convert_to_tensor(step), tf.float32)
        rising = (step + 1) / (self._warmup + 1)
        share = tf.minimum((step - self._warmup) / (self._total - self._warmup), 1.0)
        falling = 0.5 * (1 + tf.cos(math.pi * share))
        return peak * tf.where(step < self._warmup, rising, falling)


def _schedule(config: TrainConfig, train: Part, steps: int) -> LearningRate:
    """Return the learning rate by step, of so many per epoch.

    Without a configured rate, it is the inverse of the linear model's curvature: gradient descent
    on a squared error converges with a rate below two over the largest curvature.
    """
    peak = config.learning_rate
    if peak is None:
        inputs = train.tensors(np.arange(min(train.count, _CURVATURE_SAMPLE)))
        rows = inputs.reshape(len(inputs), -1).astype(np.float64)
        rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
        peak = float(1 / np.linalg.norm(2 / len(rows) * rows.T @ rows, ord=2))
    total = config.epochs * steps
    # The linear model's is constant: plain gradient descent.
    constant = config.model == "linear"
    return LearningRate(peak, min(round(_WARMUP * total), steps), total, constant=constant)


def _require_same_start(strategy: Any, epochs: int) -> None:
    """Check that all workers start with the same epoch; else they would wait forever."""
    if strategy.num_replicas_in_sync == 1:
        return
    each = strategy.run(lambda: tf.constant(float(epochs)))
    mean = float(strategy.reduce(tf.distribute.ReduceOp.MEAN, each, axis=None))
    if mean != epochs:
        raise TrainingError(
            f"the workers would not start with the same epoch (here {epochs + 1}): they need a "
            "work folder that they share, or remove its runs/.unfinished on all of them"
        )


class Steps:
    """Runs a compiled network over batches.

    Training minimizes the mean loss plus half of `l2` times the sum of the squared kernels; biases
    are not penalized.
    """

    def __init__(self, network: Network, strategy: Any, validation: Part | None, l2: float) -> None:
        self._network, self._strategy = network, strategy
        self._l2 = l2 / strategy.num_replicas_in_sync
        self._train, self._evaluate = map(self._compile, (self._train_step, self._evaluate_step))
        self.validates = validation is not None and validation.count > 0
        if validation is not None and self.validates:
            self._steps = steps_per_epoch(validation.count, _VALIDATION_BATCH)
            order = Order(_VALIDATION_BATCH)
            self._validation = batches(in_memory(validation), order, 0, self._steps, strategy)

    def train(self, iterator: Any, count: int, after: AfterSteps | None = None) -> dict[str, float]:
        """Take a step with each of the next batches; return mean loss and accuracy.

        It ends early if `after`, called every few steps, sets the network's stop_training.

        The loss is the mean cross-entropy in nats; for a regression the mean squared error in units
        of the targets' variance (of the linear model: in their own units), without an accuracy.
        """
        return self._run(self._train, iterator, count, after)

    def evaluate(self) -> dict[str, float]:
        """Return mean loss and accuracy on the validation data, as `train` does; {} without any."""
        if not self.validates:
            return {}
        return self._run(self._evaluate, iter(self._validation), self._steps)

    def _run(
        self, function: Any, iterator: Any, count: int, after: AfterSteps | None = None
    ) -> dict[str, float]:
        totals = np.zeros(3)
        for start in range(0, count, _STEPS_PER_CALL):
            steps = min(_STEPS_PER_CALL, count - start)
            # numpy() waits for the result, so that Ctrl-C takes effect.
            totals += function(iterator, tf.constant(steps)).numpy()
            if after is not None:
                after((start + steps) / count, self._means(totals))
                if self._network.stop_training:
                    break
        return self._means(totals)

    def _means(self, totals: NDArray[np.float64]) -> dict[str, float]:
        examples, loss, right = totals.tolist()
        accuracy = {} if self._network.task.classes is None else {"accuracy": right / examples}
        return {"loss": loss / examples, **accuracy}

    def _compile(self, step: Callable[[Batch], Tensor]) -> Any:
        """Compile a function that takes `count` steps and adds up their results."""

        # Without AutoGraph, which takes longer to convert the code of a step than TensorFlow to
        # trace it.
        def run(iterator: Any, count: Tensor) -> Tensor:
            def add(number: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
                each = self._strategy.run(step, args=(next(iterator),))
                return number + 1, sums + self._strategy.reduce(_SUM, each, axis=None)

            # float64, as the sum over an epoch would swallow the loss of a single example.
            start = tf.constant(0), tf.zeros([3], tf.float64)
            return tf.while_loop(lambda number, _: number < count, add, start)[1]

        return tf.function(run, reduce_retracing=True, autograph=False)

    def _train_step(self, batch: Batch) -> Tensor:
        network = self._network
        with tf.GradientTape() as tape:
            inputs, known = batch.inputs, tf.shape(batch.inputs)[0]
            if batch.others.shape.rank > 1:
                inputs = tf.concat([inputs, batch.others], axis=0)
            scores = network.scores(inputs, batch.seed)
            scores, others = scores[:known], scores[known:]
            losses = self._losses(scores, batch)
            # This replica's share of the mean over the whole batch.
            loss = tf.reduce_sum(losses) / batch.size
            if batch.others.shape.rank > 1:
                # Images of no class should get the same probability for each class.
                loss -= tf.reduce_sum(tf.reduce_mean(tf.nn.log_softmax(others), 1)) / batch.size
            if self._l2:
                kernels = [v for v in network.trainable if len(v.shape) > 1]
                loss += self._l2 * tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels])
        # Sums them over the replicas.
        network.optimizer.apply(tape.gradient(loss, network.trainable))
        return self._sums(scores, losses, batch)

    def _evaluate_step(self, batch: Batch) -> Tensor:
        scores = self._network.scores(batch.inputs)
        return self._sums(scores, self._losses(scores, batch), batch)

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

    def _sums(self, scores: Tensor, losses: Tensor, batch: Batch) -> Tensor:
        """Count the examples, add up their losses, and count the correct predictions."""
        if self._network.task.classes is None:
            right = tf.zeros_like(batch.weights)
        else:
            guesses = tf.argmax(scores, axis=1, output_type=batch.targets.dtype)
            right = batch.weights * tf.cast(guesses == batch.targets, tf.float32)
        columns = tf.stack([batch.weights, losses, right], axis=1)
        return tf.reduce_sum(tf.cast(columns, tf.float64), axis=0)


class Checkpoints:
    """Saves and restores the complete state of a training; `saved` counts the epochs in the last.

    The chief writes; all workers restore.
    """

    def __init__(self, folder: Path, network: Network, stopping: Any, rate: LearningRate) -> None:
        self.saved = 0
        self._stopping, self._rate = stopping, rate
        weights = [] if stopping is None else network.get_weights()
        self._best = [tf.Variable(weight, trainable=False) for weight in weights]
        self._notes = tf.Variable("", dtype=tf.string, trainable=False)
        variables = [*network.state, *self._best]
        checkpoint = tf.train.Checkpoint(notes=self._notes, variables=variables)
        self._manager = tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=1)
        self._last = time.monotonic()

    def restore(self) -> list[Epoch]:
        """Restore the latest checkpoint; return its epochs, none if there is no checkpoint."""
        latest = self._manager.latest_checkpoint
        if latest is None:
            return []
        try:
            self._manager.checkpoint.restore(latest).assert_existing_objects_matched()
            notes: dict[str, Any] = json.loads(self._notes.numpy())
        except (tf.errors.OpError, LookupError, AssertionError, ValueError) as error:
            raise TrainingError(
                f"the checkpoint {latest} cannot be read ({type(error).__name__}): remove the "
                f"folder {Path(latest).parent} to train from the start"
            ) from error
        if self._stopping is not None:
            self._stopping.best, self._stopping.wait = notes["best_loss"], notes["waited"]
            self._stopping.best_weights = [variable.numpy() for variable in self._best]
        self._rate.factor = notes.get("rate_factor", 1.0)
        history = [Epoch(**epoch) for epoch in notes["history"]]
        self.saved = len(history)
        return history

    def save(self, history: list[Epoch]) -> None:
        """Save at the end of an epoch, unless a checkpoint was just saved."""
        if not is_chief() or time.monotonic() - self._last < SECONDS_BETWEEN:
            return
        notes: dict[str, Any] = {
            "history": [dataclasses.asdict(epoch) for epoch in history],
            "rate_factor": self._rate.factor,
        }
        if self._stopping is not None:
            notes |= {"best_loss": self._stopping.best, "waited": self._stopping.wait}
            for variable, weight in zip(self._best, self._stopping.best_weights, strict=True):
                variable.assign(weight)
        self._notes.assign(json.dumps(notes))
        try:
            self._manager.save()
        except tf.errors.OpError as error:
            raise TrainingError(f"cannot write a checkpoint: {error.message}") from error
        self._last, self.saved = time.monotonic(), len(history)


def unfinished_folder(runs: Path, config: TrainConfig, train: Part) -> Path:
    """Return the folder of an unfinished training: runs/.unfinished/<name>-<fingerprint>."""
    # All modes of quantization can continue from the same checkpoint.
    digest = hashlib.sha256(to_json(dataclasses.replace(config, quantize="none")).encode())
    if config.pretrained is not None and Path(config.pretrained).expanduser().is_file():
        digest.update(Path(config.pretrained).expanduser().read_bytes())
    digest.update(f"{tf.__version__} {train.count}".encode())
    digest.update(np.ascontiguousarray(train.targets).tobytes())
    some = np.linspace(0, train.count - 1, min(train.count, 32)).astype(np.int64)
    digest.update(np.ascontiguousarray(train.tensors(some)).tobytes())
    return runs / UNFINISHED_FOLDER / f"{config.name}-{digest.hexdigest()[:12]}"


@contextmanager
def unfinished_run(runs: Path, config: TrainConfig, train: Part) -> Iterator[Path]:
    """Lock the folder of an unfinished training, the same for the same settings and data.

    It is removed if the body succeeds, and kept for the next attempt if it fails. Raises a
    TrainingError if it cannot be written, or the same training runs in another process.
    """
    folder = unfinished_folder(runs, config, train)
    with locked(folder, f"training of {config.name}"):
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
