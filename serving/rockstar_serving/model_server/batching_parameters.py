"""Batching parameters: TensorFlow Serving's file of BatchingParameters.

Fields, defaults and checks are those of TensorFlow Serving (`session_bundle_config.proto`,
`bundle_factory_util.cc`) and of TensorFlow's `shared_batch_scheduler.h`.
"""

import logging
import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from rockstar_serving.model_server.models.config import ConfigError, parse_text_proto, read_config
from tfs_api.messages.batching_parameters_pb2 import BatchingParameters as Message

log = logging.getLogger(__name__)

# All versions share one pool, so these have an effect only in the server's own file.
POOL_FIELDS = frozenset({"num_batch_threads", "thread_pool_name"})
FIELDS = frozenset(field.name for field in Message.DESCRIPTOR.fields)


@dataclass(frozen=True)
class QueueParameters:
    """How the requests of one signature are batched; sizes are in rows.

    Attributes:
        max_batch_size: of a request, and of a batch unless large requests are split.
        batch_timeout_micros: how long a batch waits for more requests.
        max_enqueued_batches: how many batches may wait for a thread.
        allowed_batch_sizes: increasing; a batch is padded to the next one. Empty: any size.
        pad_variable_length_inputs: whether inputs of different lengths share a batch, with the
            shorter ones padded.
        execution_batch_size: of a batch; if smaller than max_batch_size, larger requests are split.
        split: whether requests are split to fill batches.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    execution_batch_size: int = 1000
    split: bool = False

    def padded(self, rows: int) -> int:
        """The size to which a batch with this number of rows is padded."""
        return next((size for size in self.allowed_batch_sizes if size >= rows), rows)


@dataclass(frozen=True)
class BatchingParameters:
    """How a server batches: each signature, and in how many threads at once, with which name."""

    queue: QueueParameters = QueueParameters()
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    thread_pool_name: str = "batch_threads"


def read_parameters(path: Path, effective: Collection[str] = FIELDS) -> BatchingParameters:
    """Read a file in the text format of BatchingParameters; raises ConfigError.

    Fields without effect are logged.
    """
    where = f"batching parameters file {path}"
    hint = "numbers are written as `max_batch_size { value: 128 }`"
    message = parse_text_proto(read_config(path, where), Message, where, hint=hint)
    names = [field.name for field, _ in message.ListFields()]
    ignored = [name for name in names if name not in effective]
    splits = message.enable_large_batch_splitting.value
    if "max_execution_batch_size" in names and not splits:
        ignored.append("max_execution_batch_size (without enable_large_batch_splitting)")
    if ignored:
        log.info("%s: without effect here: %s", where, ", ".join(ignored))

    def number(name: str, default: int, least: int = 1) -> int:
        value: int = getattr(message, name).value if message.HasField(name) else default
        if value < least:
            kind = "positive" if least else "non-negative"
            raise ConfigError(f"{where}: {name} must be {kind}; was {value}")
        return value

    size = number("max_batch_size", QueueParameters.max_batch_size)
    execution = number("max_execution_batch_size", size) if splits else size
    if execution > size:
        raise ConfigError(
            f"{where}: max_execution_batch_size must not exceed max_batch_size; "
            f"was {execution}; expected at most {size}"
        )
    # Like TensorFlow Serving, it reads 0 as 1 if requests are not split.
    enqueued = number(
        "max_enqueued_batches", QueueParameters.max_enqueued_batches, 1 if splits else 0
    )
    allowed = tuple(message.allowed_batch_sizes)
    if allowed and (allowed[0] < 1 or list(allowed) != sorted(set(allowed))):
        raise ConfigError(
            f"{where}: allowed_batch_sizes must be positive and increasing; were {list(allowed)}"
        )
    if allowed and allowed[-1] != size:
        raise ConfigError(
            f"{where}: last entry in allowed_batch_sizes must match max_batch_size; "
            f"last entry was {allowed[-1]}; expected {size}"
        )
    queue = QueueParameters(
        max_batch_size=size,
        batch_timeout_micros=number("batch_timeout_micros", 0, 0),
        max_enqueued_batches=max(1, enqueued),
        allowed_batch_sizes=allowed,
        pad_variable_length_inputs=message.pad_variable_length_inputs,
        execution_batch_size=execution,
        split=splits,
    )
    defaults = BatchingParameters(queue)
    named = message.HasField("thread_pool_name")
    return BatchingParameters(
        queue,
        number("num_batch_threads", defaults.threads),
        message.thread_pool_name.value if named else defaults.thread_pool_name,
    )
