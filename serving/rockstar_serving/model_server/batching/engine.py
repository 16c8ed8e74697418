"""An engine that runs requests to the same signature together: batching around another engine.

What can share a batch and what is rejected is as in TensorFlow Serving's `batching_session.cc`.
Rows are the first dimension of arrays.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_serving.model_server.batching.parameters import (
    FIELDS,
    POOL_FIELDS,
    QueueParameters,
    read_parameters,
)
from rockstar_serving.model_server.batching.scheduler import (
    Arrays,
    BatchQueue,
    Scheduler,
    Task,
    wait_for_outputs,
)
from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline, DeadlineExceededError
from rockstar_serving.model_server.engines.engine import Engine, EngineWrapper, LoadError
from rockstar_serving.model_server.models.config import ConfigError
from rockstar_serving.model_server.observers import BatchingObserver
from rockstar_serving.model_server.options import BatchingOptions
from tfs_api.status import Code, StatusError

log = logging.getLogger(__name__)

PARAMETERS_FILE = "batching_params.pbtxt"  # in a version folder
# The largest rank of an input whose dimensions after the first are padded.
_MAX_PADDED_RANK = 6


class Batcher:
    """Adds batching to engines according to the options."""

    def __init__(self, options: BatchingOptions, observer: BatchingObserver | None = None) -> None:
        """Create a batcher; its threads live while there are engines that it batches.

        Args:
            options: whether and how to batch.
            observer: receives requests and batches.
        """
        self._options = options
        self._observer = observer
        parameters = options.parameters
        self._scheduler = Scheduler(parameters.threads, parameters.thread_pool_name)

    def parameters(self, version_folder: Path) -> QueueParameters | None:
        """Read how to batch a version; None: not at all.

        With parameters per model, a version without a file is not batched, as in TensorFlow
        Serving.

        Raises:
            LoadError: the version's file is invalid.
        """
        if not self._options.enabled:
            return None
        if not self._options.per_model:
            return self._options.parameters.queue
        path = version_folder / PARAMETERS_FILE
        if not path.exists():
            return None
        try:
            return read_parameters(path, FIELDS - POOL_FIELDS).queue
        except ConfigError as error:
            raise LoadError(str(error)) from error

    def wrap(self, engine: Engine, parameters: QueueParameters | None) -> Engine:
        """Add batching to an engine; without parameters, return the engine itself."""
        if parameters is None:
            return engine
        return BatchingEngine(engine, self._scheduler, parameters, self._observer)


class BatchingEngine(EngineWrapper):
    """Batches the requests to one version, with a queue for each signature.

    If a batch fails, each of its requests runs alone, so that an invalid request does not fail the
    others.
    """

    def __init__(
        self,
        engine: Engine,
        scheduler: Scheduler,
        parameters: QueueParameters,
        observer: BatchingObserver | None = None,
    ) -> None:
        """Wrap an engine.

        Args:
            engine: runs the batches; closed with this one.
            scheduler: provides the threads.
            parameters: how to batch.
            observer: receives requests and batches.
        """
        super().__init__(engine)
        self._scheduler = scheduler
        self._parameters = parameters
        self._observer = observer
        self._queues = {
            name: BatchQueue(parameters, partial(self._process, name)) for name in engine.signatures
        }
        for _ in self._queues:
            scheduler.attach()

    @property
    def name(self) -> str:
        """Name of the runtime; see Engine."""
        return f"{self.engine.name} with batching"

    def run(
        self,
        signature: str,
        feeds: Mapping[str, NDArray[Any]],
        fetches: Sequence[str],
        deadline: Deadline = NO_DEADLINE,
    ) -> dict[str, NDArray[Any]]:
        """Run a signature, together with other requests if possible; see Engine.

        Raises:
            StatusError: also INVALID_ARGUMENT, the feeds are too large or differ in their number of
                rows; FAILED_PRECONDITION, an output has another number of rows; UNAVAILABLE, the
                queue is full.
        """
        pad_lengths = self._parameters.pad_variable_length_inputs
        rows = _count_rows(feeds, pad_lengths=pad_lengths)
        if not rows:
            return self.engine.run(signature, feeds, fetches, deadline)
        if self._observer is not None:
            self._observer.input_batch_size(rows)
        key = (
            frozenset(fetches),
            frozenset(
                (name, array.dtype, array.ndim if pad_lengths else array.shape[1:])
                for name, array in feeds.items()
            ),
        )
        task = Task(feeds, fetches, rows, key, deadline)
        return wait_for_outputs(self._scheduler.submit(self._queues[signature], task), deadline)

    def close(self) -> None:
        """Run the waiting requests, then close the engine."""
        for queue in self._queues.values():
            self._scheduler.detach(queue)
        self.engine.close()

    def _process(self, signature: str, tasks: Sequence[Task]) -> None:
        now = time.monotonic()
        claimed = []
        for task in tasks:
            if not task.claim():
                continue  # its caller has left
            if self._observer is not None:
                self._observer.queuing_latency((now - task.enqueued) * 1e6)
            if now > task.deadline.moment:
                task.set_error(DeadlineExceededError())
            else:
                claimed.append(task)
        if claimed:
            self._run_together(signature, claimed)

    def _run_together(self, signature: str, tasks: Sequence[Task]) -> None:
        rows = sum(task.rows for task in tasks)
        padding = self._parameters.padded(rows) - rows
        if self._observer is not None:
            self._observer.processed_batch_size(rows + padding, padding)
        try:
            feeds = tasks[0].feeds
            if len(tasks) > 1 or padding:
                pad_lengths = self._parameters.pad_variable_length_inputs
                feeds = _merge(tasks, padding, pad_lengths=pad_lengths)
            # The latest deadline: the other callers may get their results late rather than never.
            deadline = max((task.deadline for task in tasks), key=lambda each: each.moment)
            outputs = self.engine.run(signature, feeds, tasks[0].fetches, deadline)
            _check_rows(outputs, rows + padding)
        except Exception as error:
            if len(tasks) == 1:
                tasks[0].set_error(error)
                return
            log.warning(
                "signature %s: a batch of %d requests failed, each is run alone: %s",
                *(signature, len(tasks), repr(error)),
            )
            for task in tasks:
                self._run_together(signature, [task])
            return
        start = 0
        for task in tasks:
            stop = start + task.rows
            # Views keep the outputs of the batch in memory, but only until the response is sent.
            task.set_outputs({name: outputs[name][start:stop] for name in task.fetches})
            start = stop


def _count_rows(feeds: Arrays, *, pad_lengths: bool) -> int:
    """Count the rows of a request, which must be the same in all inputs.

    Raises:
        StatusError: INVALID_ARGUMENT, no input, one without dimensions, one with too many to be
            padded, or inputs with different numbers of rows.
    """
    if not feeds:
        raise _invalid("Batching Run() must have at least one input tensor")
    ranks = [array.ndim for array in feeds.values()]
    if not all(ranks):
        raise _invalid("Batching Run() input tensors must have at least one dimension")
    rows, *others = {len(array) for array in feeds.values()}
    if others:
        raise _invalid("Batching Run() input tensors must have equal 0th-dimension size")
    if pad_lengths and max(ranks) > _MAX_PADDED_RANK:
        raise _invalid(f"Only tensors with rank from 1 to {_MAX_PADDED_RANK} can be padded.")
    return rows


def _merge(tasks: Sequence[Task], padding: int, *, pad_lengths: bool) -> Arrays:
    """Concatenate the feeds of all tasks.

    Args:
        tasks: with equal dtypes, and equal shapes after the first dimension unless pad_lengths.
        padding: number of rows to add; they repeat the first row of the last task.
        pad_lengths: whether to pad the dimensions after the first to the largest size of each, with
            the first element of the padded array.

    Raises:
        StatusError: INVALID_ARGUMENT, an empty array cannot be padded.
    """
    merged = {}
    for name in tasks[0].feeds:
        arrays = [task.feeds[name] for task in tasks]
        if pad_lengths:
            sizes = zip(*(array.shape[1:] for array in arrays), strict=True)
            lengths = tuple(map(max, sizes))
            arrays = [_pad(array, lengths) for array in arrays]
        last = arrays[-1]
        filling = np.broadcast_to(last[:1], (padding, *last.shape[1:]))
        merged[name] = np.concatenate([*arrays, filling])
    return merged


def _pad(array: NDArray[Any], lengths: tuple[int, ...]) -> NDArray[Any]:
    if array.shape[1:] == lengths:
        return array
    if not array.size:
        raise _invalid("Got empty tensor in batch of non-empty tensors.")
    result = np.empty((len(array), *lengths), array.dtype)
    result.fill(array.flat[0])  # np.full() cuts NULs off the ends of strings
    result[tuple(slice(size) for size in array.shape)] = array
    return result


def _check_rows(outputs: Arrays, rows: int) -> None:
    for name, array in outputs.items():
        if not array.ndim:
            message = "Batched output tensor has 0 dimensions"
        elif len(array) != rows:
            message = (
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension "
                "sizes of the input tensors"
            )
        else:
            continue
        raise StatusError(
            Code.FAILED_PRECONDITION,
            f"{message}: output {name!r} of {rows} rows has the shape {list(array.shape)}; serve "
            "the model without batching",
        )


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
