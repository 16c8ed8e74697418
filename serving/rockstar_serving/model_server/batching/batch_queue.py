"""Tasks that wait for a thread, in batches, as TensorFlow's SharedBatchScheduler queues them."""

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from rockstar_serving.model_server.batching.parameters import QueueParameters
from rockstar_serving.model_server.batching.task import Task
from tfs_api.status import Code, StatusError


@dataclass
class Batch:
    """Tasks that run together.

    Attributes:
        tasks: of one key.
        started: when the first of them came, on the clock of time.monotonic(), in seconds.
        rows: of all of them.
    """

    tasks: list[Task]
    started: float
    rows: int = field(init=False)

    def __post_init__(self) -> None:
        self.rows = sum(task.rows for task in self.tasks)

    def add(self, task: Task) -> None:
        """Take one more."""
        self.tasks.append(task)
        self.rows += task.rows


class BatchQueue:
    """The batches of one signature; the scheduler's lock guards it.

    Attributes:
        process: runs the tasks of a batch; raises nothing and answers each of them.
        running: batches that have been taken and are not done.
        closed: nothing more comes, so that nothing waits for company.
    """

    def __init__(
        self, parameters: QueueParameters, process: Callable[[Sequence[Task]], None]
    ) -> None:
        self.process = process
        self.running = 0
        self.closed = False
        self._parameters = parameters
        self._timeout = parameters.batch_timeout_micros / 1e6
        # Full ones, and by key those with room, the oldest first in both.
        self._full: deque[Batch] = deque()
        self._open: dict[Hashable, Batch] = {}

    def __len__(self) -> int:
        """How many batches wait."""
        return len(self._full) + len(self._open)

    def add(self, task: Task) -> tuple[list[Task], int]:
        """Put a task into a batch, or its parts into several.

        Returns:
            The parts, one if it is not split, and how many batches have begun or become full.

        Raises:
            StatusError: INVALID_ARGUMENT, it is too large; UNAVAILABLE, the queue is full.
        """
        if self.closed:
            raise StatusError(Code.UNAVAILABLE, "this version is being unloaded")
        if task.rows > self._parameters.max_batch_size:
            raise StatusError(
                Code.INVALID_ARGUMENT,
                f"Task size {task.rows} is larger than maximum input batch size "
                f"{self._parameters.max_batch_size}",
            )
        if self._parameters.split:
            self._check_room_for_parts(task)
        else:
            self._check_room(task)
        parts = task.split(self._sizes(task))
        return parts, sum(self._place(part) for part in parts)

    def due(self) -> float:
        """When a batch can be taken, on the clock of time.monotonic(); only while some wait."""
        if self._full or self.closed:
            return float("-inf")
        return self._oldest_open().started + self._timeout

    def take(self, now: float) -> Batch | None:
        """Take out the oldest batch that is full or has waited long enough, if there is one."""
        batch = self._oldest_open() if self._open else None
        if batch is not None and not self.closed and now < batch.started + self._timeout:
            batch = None
        if self._full and (batch is None or self._full[0].started <= batch.started):
            return self._full.popleft()
        if batch is not None:
            del self._open[batch.tasks[0].key]
        return batch

    def _oldest_open(self) -> Batch:
        return next(iter(self._open.values()))

    def _room(self, key: Hashable) -> int:
        """Rows for which the open batch of a key has room; 0 where none is open."""
        batch = self._open.get(key)
        return self._parameters.execution_batch_size - batch.rows if batch else 0

    def _check_room(self, task: Task) -> None:
        most = self._parameters.max_enqueued_batches
        if task.rows > self._room(task.key) and len(self) >= most:
            raise StatusError(
                Code.UNAVAILABLE,
                "The batch scheduling queue to which this task was submitted is full; currently "
                f"{len(self)} batches enqueued and max_enqueued_batches is {most}",
            )

    def _check_room_for_parts(self, task: Task) -> None:
        size, most = self._parameters.execution_batch_size, self._parameters.max_enqueued_batches
        room = self._room(task.key)
        capacity = room + max(0, most - len(self)) * size
        if task.rows > capacity:
            raise StatusError(
                Code.UNAVAILABLE,
                "The batch scheduling queue to which this task was submitted is full; "
                f"task size is {task.rows} but scheduling capacity is only {capacity} "
                f"(num_enqueued_batches={len(self)}, max_enqueued_batches={most}, "
                f"open_batch_size={size - room if room else 0}, max_execution_batch_size={size})",
            )

    def _sizes(self, task: Task) -> list[int]:
        if not self._parameters.split:
            return [task.rows]
        size, first = self._parameters.execution_batch_size, self._room(task.key)
        sizes = [min(first, task.rows)] if first else []
        sizes += [min(size, task.rows - start) for start in range(sum(sizes), task.rows, size)]
        return sizes

    def _place(self, task: Task) -> int:
        news = 0
        if task.rows > self._room(task.key):
            if task.key in self._open:
                self._full.append(self._open.pop(task.key))
                news += 1
            self._open[task.key] = Batch([task], task.enqueued)
            news += 1
        else:
            self._open[task.key].add(task)
        if self._room(task.key) == 0:
            self._full.append(self._open.pop(task.key))
            news += 1
        return news
