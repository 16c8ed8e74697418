"""The steps of training and of evaluation, compiled: many in one call, on every replica at once."""

from dataclasses import dataclass
from typing import Any

from training.network import Network, Optimizer
from training.pipeline import Batch
from training.tensorflow_setup import Tensor, tf

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
