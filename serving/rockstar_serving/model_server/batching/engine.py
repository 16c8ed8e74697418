"""An engine that runs requests together: batching around any other engine."""

import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from numpy.typing import NDArray

from rockstar_serving.model_server.batching.batch_queue import BatchQueue
from rockstar_serving.model_server.batching.merge import batch_key, batch_size, merge, take_apart
from rockstar_serving.model_server.batching.observer import BatchingObserver
from rockstar_serving.model_server.batching.parameters import QueueParameters
from rockstar_serving.model_server.batching.scheduler import Scheduler
from rockstar_serving.model_server.batching.task import Task, outputs_of
from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline, DeadlineExceededError
from rockstar_serving.model_server.engines.engine import Engine
from tfs_api.signature import Signature

log = logging.getLogger(__name__)


class BatchingEngine:
    """Batches the requests to one version.

    Each signature has its queue. When a batch fails, each of its requests runs alone, so that one
    that the model does not take fails none of the others.
    """

    def __init__(
        self,
        engine: Engine,
        scheduler: Scheduler,
        parameters: QueueParameters,
        observer: BatchingObserver,
    ) -> None:
        """Wrap an engine.

        Args:
            engine: runs the batches; closed with this one.
            scheduler: gives the threads.
            parameters: how to batch.
            observer: hears of it.
        """
        self._engine = engine
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
        """Of the runtime."""
        return f"{self._engine.name} with batching"

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """What can be run, by name."""
        return self._engine.signatures

    def run(
        self,
        signature: str,
        feeds: Mapping[str, NDArray[Any]],
        fetches: Sequence[str],
        deadline: Deadline = NO_DEADLINE,
    ) -> dict[str, NDArray[Any]]:
        """Run a signature, with others where it can be; see Engine.

        Raises:
            StatusError: also INVALID_ARGUMENT, the feeds are too large or do not agree in their
                first dimension; FAILED_PRECONDITION, an output does not have that dimension;
                UNAVAILABLE, the queue is full.
        """
        pad_lengths = self._parameters.pad_variable_length_inputs
        rows = batch_size(feeds, pad_lengths=pad_lengths)
        if not rows:
            return self._engine.run(signature, feeds, fetches, deadline)
        self._observer.input_batch_size(rows)
        key = batch_key(feeds, fetches, pad_lengths=pad_lengths)
        task = Task(feeds, fetches, rows, key, deadline)
        return outputs_of(self._scheduler.submit(self._queues[signature], task), deadline)

    def close(self) -> None:
        """Run what waits, then close the engine."""
        for queue in self._queues.values():
            self._scheduler.detach(queue)
        self._engine.close()

    def _process(self, signature: str, tasks: Sequence[Task]) -> None:
        now = time.monotonic()
        begun = []
        for task in tasks:
            if not task.claim():
                continue  # its caller has left
            self._observer.queuing_latency((now - task.enqueued) * 1e6)
            if now > task.deadline.moment:
                task.fail(DeadlineExceededError())
            else:
                begun.append(task)
        if begun:
            self._run_together(signature, begun)

    def _run_together(self, signature: str, tasks: Sequence[Task]) -> None:
        rows = sum(task.rows for task in tasks)
        padding = self._parameters.padded(rows) - rows
        self._observer.padding_size(padding, rows + padding)
        self._observer.processed_batch_size(rows + padding)
        try:
            answers = self._answers(signature, tasks, padding)
        except Exception as error:
            if len(tasks) == 1:
                tasks[0].fail(error)
                return
            log.warning(
                "signature %s: a batch of %d requests failed, each is run alone: %s",
                *(signature, len(tasks), repr(error)),
            )
            for task in tasks:
                self._run_together(signature, [task])
            return
        for task, answer in zip(tasks, answers, strict=True):
            task.answer(answer)

    def _answers(
        self, signature: str, tasks: Sequence[Task], padding: int
    ) -> list[dict[str, NDArray[Any]]]:
        pad_lengths = self._parameters.pad_variable_length_inputs
        alone = len(tasks) == 1 and not padding
        feeds = tasks[0].feeds if alone else merge(tasks, padding, pad_lengths=pad_lengths)
        # The last of the deadlines: whoever's is earlier is answered late rather than never.
        deadline = max((task.deadline for task in tasks), key=lambda each: each.moment)
        outputs = self._engine.run(signature, feeds, tasks[0].fetches, deadline)
        return take_apart(outputs, tasks, padding)
