"""Several requests as one, and its outputs as theirs: rows are the first dimension of arrays.

What can share a batch, and what is refused, is as in TensorFlow Serving's `batching_session.cc`.
"""

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_serving.model_server.batching.task import Arrays, Task
from tfs_api.status import Code, StatusError

# The most dimensions that an input may have where the dimensions behind the first are padded.
_MOST_PADDED = 6


def batch_size(feeds: Arrays, *, pad_lengths: bool) -> int:
    """How many rows a request has.

    Args:
        feeds: of the request.
        pad_lengths: whether the dimensions behind the first are padded.

    Raises:
        StatusError: INVALID_ARGUMENT, no input, one without dimensions, one with too many to be
            padded, or inputs of different numbers of rows.
    """
    if not feeds:
        raise _invalid("Batching Run() must have at least one input tensor")
    ranks = [array.ndim for array in feeds.values()]
    if not all(ranks):
        raise _invalid("Batching Run() input tensors must have at least one dimension")
    rows, *others = {len(array) for array in feeds.values()}
    if others:
        raise _invalid("Batching Run() input tensors must have equal 0th-dimension size")
    if pad_lengths and max(ranks) > _MOST_PADDED:
        raise _invalid(f"Only tensors with rank from 1 to {_MOST_PADDED} can be padded.")
    return rows


def batch_key(feeds: Arrays, fetches: Collection[str], *, pad_lengths: bool) -> Hashable:
    """Equal for requests that may share a batch.

    Args:
        feeds: of the request.
        fetches: its outputs.
        pad_lengths: whether the dimensions behind the first may differ.
    """
    return frozenset(fetches), frozenset(
        (name, array.dtype, array.ndim if pad_lengths else array.shape[1:])
        for name, array in feeds.items()
    )


def merge(tasks: Sequence[Task], padding: int, *, pad_lengths: bool) -> Arrays:
    """The feeds of all tasks, one after the other.

    Args:
        tasks: of equal dtypes, and of equal shapes behind the first dimension unless pad_lengths.
        padding: how many rows to add; repeats the first row of the last task.
        pad_lengths: whether to pad the dimensions behind the first to the largest of each, with
            the first element of the array that is padded.

    Raises:
        StatusError: INVALID_ARGUMENT, an empty array cannot be padded.
    """
    return {
        name: _joined([task.feeds[name] for task in tasks], padding, pad_lengths=pad_lengths)
        for name in tasks[0].feeds
    }


def take_apart(
    outputs: Mapping[str, NDArray[Any]], tasks: Sequence[Task], padding: int
) -> list[dict[str, NDArray[Any]]]:
    """Each task's rows of what all of them got, as views.

    A view keeps the outputs of its batch alive, which is for as long as it takes to answer.

    Raises:
        StatusError: FAILED_PRECONDITION, an output has another number of rows than went in.
    """
    rows = sum(task.rows for task in tasks) + padding
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
    answers, start = [], 0
    for task in tasks:
        stop = start + task.rows
        answers.append({name: outputs[name][start:stop] for name in task.fetches})
        start = stop
    return answers


def _joined(arrays: Sequence[NDArray[Any]], padding: int, *, pad_lengths: bool) -> NDArray[Any]:
    if pad_lengths:
        lengths = tuple(max(sizes) for sizes in zip(*(a.shape[1:] for a in arrays), strict=True))
        arrays = [_padded(array, lengths) for array in arrays]
    last = arrays[-1]
    filling = np.broadcast_to(last[:1], (padding, *last.shape[1:]))
    return np.concatenate([*arrays, filling])


def _padded(array: NDArray[Any], lengths: tuple[int, ...]) -> NDArray[Any]:
    if array.shape[1:] == lengths:
        return array
    if not array.size:
        raise _invalid("Got empty tensor in batch of non-empty tensors.")
    result = np.empty((len(array), *lengths), array.dtype)
    result.fill(array.flat[0])  # np.full() cuts NULs off the ends of strings
    result[tuple(slice(size) for size in array.shape)] = array
    return result


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
