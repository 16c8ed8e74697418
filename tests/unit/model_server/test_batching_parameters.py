"""The batching file."""

import os
from pathlib import Path

import pytest

from rockstar_serving.model_server.batching_parameters import (
    POOL_FIELDS,
    BatchingParameters,
    QueueParameters,
    read_parameters,
)
from rockstar_serving.model_server.models.config import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "batching.pbtxt"
    path.write_text(text)
    return path


def test_all_fields(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        # as for tensorflow_model_server
        max_batch_size { value: 32 }
        batch_timeout_micros { value: 5000 }
        max_enqueued_batches { value: 7 }
        num_batch_threads { value: 3 }
        thread_pool_name { value: "pool" }
        allowed_batch_sizes: 4
        allowed_batch_sizes: 16
        allowed_batch_sizes: 32
        pad_variable_length_inputs: true
        enable_large_batch_splitting { value: true }
        max_execution_batch_size { value: 16 }
        """,
    )
    assert read_parameters(path) == BatchingParameters(
        QueueParameters(
            max_batch_size=32,
            batch_timeout_micros=5000,
            max_enqueued_batches=7,
            allowed_batch_sizes=(4, 16, 32),
            pad_variable_length_inputs=True,
            execution_batch_size=16,
            split=True,
        ),
        threads=3,
        thread_pool_name="pool",
    )


def test_defaults_are_those_of_tensorflow(tmp_path: Path) -> None:
    assert read_parameters(write(tmp_path, "")) == BatchingParameters(
        QueueParameters(
            max_batch_size=1000,
            batch_timeout_micros=0,
            max_enqueued_batches=10,
            execution_batch_size=1000,
        ),
        threads=os.cpu_count() or 1,
        thread_pool_name="batch_threads",
    )


def test_batches_are_as_large_as_requests_unless_the_file_sets_a_size(tmp_path: Path) -> None:
    path = write(tmp_path, "max_batch_size { value: 9 } enable_large_batch_splitting { value: 1 }")
    assert read_parameters(path).queue.execution_batch_size == 9


def test_no_room_in_the_queue_is_taken_for_room_for_one(tmp_path: Path) -> None:
    path = write(tmp_path, "max_enqueued_batches { value: 0 }")
    assert read_parameters(path).queue.max_enqueued_batches == 1


SIZE_16, SPLIT = "max_batch_size { value: 16 }", "enable_large_batch_splitting { value: true }"
LAST = "last entry in allowed_batch_sizes must match max_batch_size; last entry was"
INCREASING = "allowed_batch_sizes must be positive and increasing; were"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_size: 8", "numbers are written as `max_batch_size { value: 128 }`"),
        ("max_batch { value: 8 }", 'no field named "max_batch"'),
        ("max_batch_size { value: 0 }", "max_batch_size must be positive; was 0"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros must be non-negative; was -1"),
        ("num_batch_threads { value: 0 }", "num_batch_threads must be positive; was 0"),
        (
            f"max_enqueued_batches {{ value: 0 }} {SPLIT}",
            "max_enqueued_batches must be positive; was 0",
        ),
        (f"allowed_batch_sizes: 4 allowed_batch_sizes: 8 {SIZE_16}", f"{LAST} 8; expected 16"),
        ("allowed_batch_sizes: 8", f"{LAST} 8; expected 1000"),
        (f"allowed_batch_sizes: [8, 4, 16] {SIZE_16}", f"{INCREASING} [8, 4, 16]"),
        (f"allowed_batch_sizes: [0, 16] {SIZE_16}", f"{INCREASING} [0, 16]"),
        (
            f"{SIZE_16} {SPLIT} max_execution_batch_size {{ value: 18 }}",
            "max_execution_batch_size must not exceed max_batch_size; was 18; expected at most 16",
        ),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_parameters(path)
    assert str(caught.value).startswith(f"batching parameters file {path}: ")
    assert message in str(caught.value)


def test_fields_without_effect_are_named_in_one_line(tmp_path, caplog):
    path = write(
        tmp_path,
        "max_batch_size { value: 9 } num_batch_threads { value: 2 } "
        "max_execution_batch_size { value: 4 }",
    )
    with caplog.at_level("INFO"):
        read_parameters(path, POOL_FIELDS | {"max_execution_batch_size"})
    assert [record.getMessage() for record in caplog.records] == [
        f"batching parameters file {path}: without effect here: max_batch_size, "
        "max_execution_batch_size (without enable_large_batch_splitting)"
    ]
