"""Every call to the model server, told to the observers."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from rockstar_client.backend import Backend
from rockstar_client.errors import CallError
from rockstar_serving.gateway.observers import Call, Observer
from rockstar_serving.gateway.upstream.wrapped import Answer, Wrapped
from tfs_api.messages.inference_pb2 import Input
from tfs_api.status import Code


class Reported(Wrapped):
    """A backend whose calls are told."""

    def __init__(self, backend: Backend, observer: Observer) -> None:
        super().__init__(backend)
        self._observer = observer

    def _run(
        self, method: Callable[..., Answer], model: str, *arguments: Any, **options: Any
    ) -> Answer:
        started, code = time.perf_counter(), Code.OK
        try:
            return method(model, *arguments, **options)
        except CallError as error:
            code = error.code
            raise
        finally:
            seconds = time.perf_counter() - started
            rows = _rows(arguments[0]) if arguments else 0
            self._observer.called(Call(method.__name__, model, rows, seconds, code))


def _rows(inputs: Mapping[str, NDArray[Any]] | Input) -> int:
    """Examples in the inputs; of a predict the rows of its first one, and a scalar is one."""
    if isinstance(inputs, Input):
        lists = (inputs.example_list, inputs.example_list_with_context)
        return sum(len(each.examples) for each in lists)
    first = next(iter(inputs.values()), None)
    return len(first) if first is not None and first.ndim else 1
