"""Several requests as one, and its outputs as theirs: rows are the first dimension of arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.api.status import Code, StatusError
from serving.model_server.batching.task import Arrays, Task


class RowsError(Exception):
    """An output whose first dimension is not that of the inputs: no batch can be taken apart.

    Attributes:
        output: its name.
    """

    def __init__(self, output: str, shape: tuple[int, ...], rows: int) -> None:
        super().__init__(f"output {output!r} of {rows} rows has the shape {list(shape)}")
        self.output = output


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
        RowsError: some output has another number of rows than went in.
    """
    rows = sum(task.rows for task in tasks) + padding
    for name, array in outputs.items():
        if not array.ndim or len(array) != rows:
            raise RowsError(name, array.shape, rows)
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
        raise StatusError(Code.INVALID_ARGUMENT, "Got empty tensor in batch of non-empty tensors.")
    result = np.full((len(array), *lengths), array.flat[0], array.dtype)
    result[tuple(slice(size) for size in array.shape)] = array
    return result
