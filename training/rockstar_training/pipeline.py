"""Batches of examples as tf.data pipelines, from memory or streamed.

The examples of a step, and how they are augmented, depend on nothing but the seed and the number of
the step. So training can resume at any step with the same result, and a batch is the same on one
device or on several. Only images of no class depend on the number of devices: each creates them
from its own examples.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rockstar_training.augmentation import Augmentation, augment, without_class
from rockstar_training.prepared_data import MemoryExamples, Part
from rockstar_training.tensorflow_setup import Tensor, tf

# Data up to this size is kept in memory.
MEMORY_LIMIT = 2**30
# Examples that are read at once while data is loaded into memory.
_CHUNK = 1024


class Batch(NamedTuple):
    """The share of a batch for one device."""

    inputs: Tensor  # float32 [n, *shape]
    targets: Tensor  # int64 [n] or float32 [n]
    weights: Tensor  # float32 [n], 1, and 0 for padding
    size: Tensor  # float32 [], examples of the whole batch, over all devices
    seed: Tensor  # int64 [2], for dropout and images of no class
    others: Tensor  # float32 [m, *shape], examples of no class; [0] for none


@dataclass(frozen=True)
class Order:
    """The order of examples."""

    batch_size: int  # over all devices
    seed: int | None = None  # of everything that is random; None does not shuffle
    augmentation: Augmentation | None = None


def in_memory(part: Part) -> Part:
    """Load the tensors of a part into memory if they are small enough; else return it unchanged."""
    if isinstance(part.examples, MemoryExamples) or not part.count:
        return part
    example = part.tensors(np.arange(1))
    if example.nbytes * part.count > MEMORY_LIMIT:
        return part
    inputs = np.empty((part.count, *example.shape[1:]), dtype=np.float32)
    for start in range(0, part.count, _CHUNK):
        indices = np.arange(start, min(start + _CHUNK, part.count))
        inputs[indices] = part.tensors(indices)
    return Part(MemoryExamples(inputs, part.raw), np.arange(part.count), part.targets)


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Return the number of batches, of which the last one may be smaller."""
    return -(-count // batch_size)


def batches(part: Part, order: Order, first_step: int, last_step: int, strategy: Any) -> Any:
    """Create the batches of steps [first_step, last_step), counted from the first epoch.

    Each epoch has all examples once. They are spread over the replicas of a tf.distribute.Strategy.

    Returns:
        An iterable of Batch, one for each step; with several replicas, of per-replica values.
    """

    def dataset(context: Any) -> Any:
        local = context.num_replicas_in_sync // context.num_input_pipelines
        first_replica = context.input_pipeline_id * local
        read = _reader(part)

        @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
        def batch(number: Tensor) -> Batch:
            replica = first_replica + number % local
            return _batch(part.count, order, read, number // local, replica, context)

        numbers = tf.data.Dataset.range(first_step * local, last_step * local)
        return numbers.map(batch, tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)

    return strategy.distribute_datasets_from_function(dataset)


def _batch(
    count: int, order: Order, read: Any, step: Tensor, replica: Tensor, context: Any
) -> Batch:
    steps = steps_per_epoch(count, order.batch_size)
    start = step % steps * order.batch_size
    size = tf.minimum(count - start, order.batch_size)
    # A batch that cannot be divided evenly is padded with its last example, with a weight of 0.
    share = -(-size // context.num_replicas_in_sync)
    places = replica * share + tf.range(share, dtype=tf.int64)
    weights = tf.cast(places < size, tf.float32)
    places = tf.minimum(places, size - 1)
    indices = start + places
    seed = tf.zeros([2], tf.int64)
    if order.seed is not None:
        epoch = step // steps
        indices = tf.random.experimental.index_shuffle(indices, [order.seed, epoch], count - 1)
        seed = tf.stack([tf.constant(order.seed, tf.int64), step])
    inputs, targets = read(indices)
    if order.augmentation is not None:
        shape = [order.batch_size, order.augmentation.numbers]
        numbers = tf.random.stateless_uniform(shape, seed, -1.0, 1.0)
        inputs = augment(inputs, tf.gather(numbers, places), order.augmentation)
    apart = tf.stack([tf.zeros([], tf.int64), replica * 2**32])
    others = tf.zeros([0])
    if order.augmentation is not None and order.augmentation.others:
        count = tf.cast(order.augmentation.others * tf.cast(share, tf.float32), tf.int64)
        others = without_class(inputs, seed + apart, count)
    return Batch(inputs, targets, weights, tf.cast(size, tf.float32), seed + apart, others)


def _reader(part: Part) -> Any:
    """Return a TensorFlow function from indices to tensors and targets."""
    targets = tf.constant(part.targets)
    if isinstance(part.examples, MemoryExamples):
        inputs = tf.constant(part.tensors(np.arange(part.count)))
        return lambda indices: (tf.gather(inputs, indices), tf.gather(targets, indices))
    shape = part.tensors(np.arange(1)).shape[1:]

    def read(indices: Tensor) -> tuple[Tensor, Tensor]:
        inputs = tf.ensure_shape(
            tf.numpy_function(part.tensors, [indices], tf.float32, stateful=False), [None, *shape]
        )
        return inputs, tf.gather(targets, indices)

    return read
