"""LiteRT as the engine: `model.tflite` of a version folder."""

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from serving.api.signature import Signature, TensorSpec
from serving.api.tensors import wire_type
from serving.model_server.deadline import NO_DEADLINE, Deadline, DeadlineExceededError
from serving.model_server.engines.engine import LoadError

MODEL_FILE = "model.tflite"
_IDENTIFIER = b"TFL3"  # of the FlatBuffers schema, at bytes 4 to 8


class LiteRTEngine:
    """One version in LiteRT.

    An interpreter is not safe to share between threads, so there is a pool: made when needed, up to
    `interpreters`; beyond that callers wait for a free one.
    """

    name = "LiteRT"

    def __init__(
        self, version_folder: Path, *, threads: int = 1, interpreters: int | None = None
    ) -> None:
        """Load a version.

        Args:
            version_folder: holds model.tflite.
            threads: of one interpreter.
            interpreters: how many requests run at once; none: one for each core.

        Raises:
            LoadError: no model.tflite, not readable, damaged, or without signatures.
        """
        self._path = version_folder / MODEL_FILE
        # Read whole: an interpreter made later still finds the model when the folder is gone, and
        # a file that is overwritten in place cannot pull mapped memory from under a request.
        self._content = _read(self._path)
        self._threads = threads
        self._idle: list[_Runners] = []
        self._room = threading.Semaphore(interpreters or os.cpu_count() or 1)
        self.signatures: Mapping[str, Signature] = self._load()
        if not self.signatures:
            raise LoadError(f"{self._path} has no signatures: convert it from a SavedModel")

    def run(
        self,
        signature: str,
        feeds: Mapping[str, NDArray[Any]],
        fetches: Sequence[str],
        deadline: Deadline = NO_DEADLINE,
    ) -> dict[str, NDArray[Any]]:
        """Run a signature; see Engine."""
        if not self._room.acquire(timeout=deadline.remaining()):
            raise DeadlineExceededError
        try:
            deadline.check()
            try:
                runners = self._idle.pop()
            except IndexError:
                runners = _Runners(self._content, self._threads)
            outputs = runners.run(signature, feeds)
            # After a failure an interpreter's state is unknown, so only a healthy one goes back.
            self._idle.append(runners)
        finally:
            self._room.release()
        return {name: outputs[name] for name in fetches}

    def close(self) -> None:
        """Free the interpreters and the model."""
        self._idle.clear()
        self._content = b""

    def _load(self) -> dict[str, Signature]:
        try:
            first = _Runners(self._content, self._threads)
            signatures = first.describe()
        except Exception as error:  # LiteRT raises ValueError, RuntimeError, UnicodeError and more
            raise LoadError(
                f"{self._path} is damaged or holds what LiteRT cannot run ({error}): "
                "export it again"
            ) from error
        self._idle.append(first)
        return signatures


class _Runners:
    """An interpreter with a runner for each of its signatures."""

    def __init__(self, content: bytes, threads: int) -> None:
        interpreter = Interpreter(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()  # fails now, not at a request, on an operation it lacks
        self._runners = {
            name: interpreter.get_signature_runner(name)
            for name in interpreter.get_signature_list()
        }

    def describe(self) -> dict[str, Signature]:
        """The signatures, by name."""
        return {
            name: Signature(
                inputs=_specs(runner.get_input_details()),
                outputs=_specs(runner.get_output_details()),
            )
            for name, runner in self._runners.items()
        }

    def run(self, signature: str, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """All outputs. LiteRT returns copies and skips the resizing where shapes stay the same."""
        outputs: dict[str, NDArray[Any]] = self._runners[signature](**feeds)
        return outputs


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise LoadError(
            f"{path} is missing: export the model with its LiteRT file (rockstar train does), or "
            "serve the SavedModel with TensorFlow Serving"
        ) from None
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) < 8 or content[4:8] != _IDENTIFIER:
        raise LoadError(
            f"{path} is no LiteRT model ({len(content)} bytes without the mark TFL3): export it "
            "again, or wait until it is copied whole"
        )
    return content


def _specs(details: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {name: _spec(detail) for name, detail in details.items()}


def _spec(detail: Mapping[str, Any]) -> TensorSpec:
    dtype = np.dtype(detail["dtype"])
    if dtype.kind in "SU":
        dtype = np.dtype(object)
    wire_type(dtype)  # a dtype that cannot travel is found at load, not at the first request
    shape = detail["shape_signature"]
    if not len(shape):
        shape = detail["shape"]
    return TensorSpec(detail["name"], dtype, tuple(int(size) for size in shape))
