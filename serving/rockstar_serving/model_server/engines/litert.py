"""LiteRT as an engine: `model.tflite` of a version folder."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from rockstar_serving.model_server.engines.engine import LoadError, UnsupportedModelError, as_array
from rockstar_serving.model_server.engines.litert_file import ModelFile
from rockstar_serving.model_server.engines.litert_interpreter import (
    Feeds,
    LiteRTInterpreter,
    Shapes,
)
from rockstar_serving.model_server.engines.litert_ops import unsupported_ops
from rockstar_serving.model_server.engines.litert_pool import Pool
from rockstar_serving.model_server.engines.litert_signatures import (
    MainGraphSignature,
    describe,
    main_graph_signatures,
)
from rockstar_serving.model_server.engines.runtime import Runtime
from rockstar_serving.model_server.options import EngineOptions
from tfs_api.signature import Signature, TensorSpec, dtype_name, shape_text
from tfs_api.status import Code, StatusError
from tfs_api.tensors import MAX_FILLED_BYTES

MODEL_FILE = "model.tflite"
# An interpreter for another shape packs the weights anew, and so takes about as much memory again
# as the model. It saves a resizing, which only in a small model is much of the time of a run.
_FOR_SHAPES, _SMALL_MODEL_BYTES = 4, 2**20
# XNN_MAX_TENSOR_DIMS: with more, LiteRT's XNNPACK delegate ends the process.
_MOST_DIMENSIONS = 6


class LiteRTEngine:
    """One version in LiteRT."""

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
            LoadError: no model.tflite, not readable, or damaged.
        """
        path = version_folder / MODEL_FILE
        self._file = ModelFile(path)
        content = self._file.content()
        try:
            main_graph = main_graph_signatures(content)
            first = LiteRTInterpreter(content, threads, main_graph)
            self.signatures: Mapping[str, Signature] = describe(content, first.runners, main_graph)
        except Exception as error:  # LiteRT raises ValueError, RuntimeError, UnicodeError and more
            raise _load_error(path, content, error) from error
        self._pool = Pool(
            partial(_interpreter, self._file, threads, main_graph),
            first,
            at_once=interpreters or os.cpu_count() or 1,
            for_shapes=_FOR_SHAPES if len(content) <= _SMALL_MODEL_BYTES else 1,
        )

    def run(
        self,
        signature: str,
        feeds: Feeds,
        fetches: Sequence[str],
        deadline: Deadline = NO_DEADLINE,
    ) -> dict[str, NDArray[Any]]:
        """Run a signature; see Engine."""
        # Requests name inputs in any order.
        shapes = []
        run = self._run
        for name, spec in self.signatures[signature].inputs.items():
            feed = feeds[name]
            if feed.dtype != spec.dtype or feed.ndim > _MOST_DIMENSIONS:
                _check(name, spec, feed)
            shapes.append(feed.shape)
            if 0 in feed.shape:
                run = self._run_empty
        outputs = run(signature, feeds, tuple(shapes), deadline)
        return {name: as_array(outputs[name]) for name in fetches}

    def close(self) -> None:
        """Free the interpreters and the model."""
        self._pool.clear()
        self._file.close()

    def rest(self) -> None:
        """Free what the first request then makes again: the interpreters and the model."""
        self._pool.clear()
        self._file.let_go()

    def _run(
        self, signature: str, feeds: Feeds, shapes: Shapes, deadline: Deadline
    ) -> dict[str, NDArray[Any]]:
        interpreter = self._pool.take(signature, shapes, deadline)
        healthy = None
        try:
            outputs = interpreter.run(signature, feeds, shapes)
            # After a failure an interpreter's state is unknown.
            healthy = interpreter
        finally:
            self._pool.give_back(healthy)
        return outputs

    def _run_empty(
        self, signature: str, feeds: Feeds, shapes: Shapes, deadline: Deadline
    ) -> dict[str, NDArray[Any]]:
        """Run a signature with a feed that has no value, such as a batch of no example.

        Many kernels of LiteRT fail at that or make up shapes. So an example of zeros stands in, and
        is cut off the outputs again.

        Raises:
            StatusError: also INVALID_ARGUMENT, the example would be too large.
        """
        rows = {-1}  # what the rows are called in the declared shapes
        for name, feed in feeds.items():
            if feed.shape[:1] == (0,):
                rows.update((self.signatures[signature].inputs[name].shape or ())[:1])
            if prod(feed.shape[1:]) * feed.itemsize > MAX_FILLED_BYTES:
                raise _invalid(
                    f"input {name!r}: shape {shape_text(feed.shape)} has no value, but is too large"
                )
        one = {name: _one_example(feed) for name, feed in feeds.items()}
        one_shapes = tuple((1, *shape[1:]) if shape[:1] == (0,) else shape for shape in shapes)
        outputs = self._run(signature, one, one_shapes, deadline)
        if one_shapes == shapes:
            return outputs
        specs = self.signatures[signature].outputs
        return {
            name: output[:0] if _is_batch(specs[name], output, rows) else output
            for name, output in outputs.items()
        }


def load(folder: Path, options: EngineOptions) -> LiteRTEngine:
    """Load a version.

    Raises:
        LoadError: it cannot be loaded.
    """
    pools = options.litert_pools or os.cpu_count() or 1
    return LiteRTEngine(
        folder,
        threads=options.intra_op_threads or 1,
        interpreters=pools * options.litert_interpreters,
    )


def _load_error(path: Path, content: bytes, error: Exception) -> LoadError:
    if isinstance(error, UnsupportedModelError):
        return UnsupportedModelError(f"{path}: {error}")
    try:
        reason = unsupported_ops(content)
    except Exception:  # it is damaged, which the first error says already
        reason = ""
    if reason:
        return UnsupportedModelError(f"{path} needs {reason}")
    return LoadError(
        f"{path} is damaged or holds what LiteRT cannot run ({error}): export it again"
    )


def _interpreter(
    file: ModelFile, threads: int, main_graph: Mapping[str, MainGraphSignature]
) -> LiteRTInterpreter:
    return LiteRTInterpreter(file.content(), threads, main_graph)


def _check(name: str, spec: TensorSpec, feed: NDArray[Any]) -> None:
    """Pass a feed that LiteRT takes, once the model's inputs have its shape.

    Raises:
        StatusError: INVALID_ARGUMENT, another dtype or too many dimensions.
    """
    got = f"got {dtype_name(feed.dtype)} of shape {shape_text(feed.shape)}"
    if feed.dtype != spec.dtype:
        raise _invalid(f"input {name!r}: expected {spec}, {got}")
    if feed.ndim != len(spec.shape or ()):
        raise _invalid(
            f"input {name!r}: expected at most {_MOST_DIMENSIONS} dimensions, which LiteRT takes, "
            f"{got}"
        )


def _one_example(feed: NDArray[Any]) -> NDArray[Any]:
    if feed.shape[:1] != (0,):
        return feed
    blank: Any = b"" if feed.dtype == object else 0
    return np.full((1, *feed.shape[1:]), blank, feed.dtype)


def _is_batch(spec: TensorSpec, output: NDArray[Any], rows: set[int]) -> bool:
    return output.ndim > 0 and (spec.shape is None or not rows.isdisjoint(spec.shape[:1]))


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)


RUNTIME = Runtime(
    name=LiteRTEngine.name,
    package="ai_edge_litert",
    install="pip install 'rockstartf[serve]'",
    files=(MODEL_FILE,),
    reads=(MODEL_FILE,),
    export="export the model with its LiteRT file, as rockstar train does",
    rank=lambda options: 0 if options.prefer_tflite else 20,
    load=load,
)
