"""LiteRT as an engine: `model.tflite` of a version folder."""

import contextlib
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from rockstar_contract.manifest import Manifest
from rockstar_contract.text_files import open_regular
from rockstar_serving.model_server.deadline import (
    NO_DEADLINE,
    Deadline,
    DeadlinePassedError,
    WouldBlockError,
)
from rockstar_serving.model_server.engines.engine import (
    Arrays,
    LoadError,
    Outputs,
    Runtime,
    UnsupportedModelError,
    as_array,
)
from rockstar_serving.model_server.engines.litert_model import (
    FILE_IDENTIFIER,
    MainGraphSignature,
    cut_parse_example,
    describe,
    main_graph_signatures,
    unsupported_ops,
)
from rockstar_serving.model_server.options import EngineOptions
from tfs_api.signature import Signature, TensorSpec, dtype_name, shape_text
from tfs_api.status import Code, StatusError, invalid
from tfs_api.tensors import MAX_FILLED_BYTES

MODEL_FILE = "model.tflite"
# An interpreter for another shape takes about as much memory again as the model. It saves resizing,
# which takes much of the time of a run only in small models.
_FOR_SHAPES, _SMALL_MODEL_BYTES = 4, 2**20
# XNN_MAX_TENSOR_DIMS: with more, LiteRT's XNNPACK delegate ends the process.
_MOST_DIMENSIONS = 6
_STDERR = 2

# Shapes of the inputs of a signature, in the order of the signature.
Shapes = tuple[tuple[int, ...], ...]


class ModelFile:
    """The content of a model.tflite, which can be freed and read again; thread-safe.

    It is read instead of mapped: an interpreter made later needs it when the folder is gone, and a
    file overwritten in place must not change the memory that a request uses.
    """

    def __init__(self, path: Path, manifest: Manifest | None) -> None:
        """Read a file of a version with a manifest, if any; raises LoadError or ManifestError."""
        self._path = path
        self._lock = threading.Lock()
        # The content, or the open file to read it from again, which works without its folder.
        self._held: bytes | BinaryIO
        try:
            with open_regular(path) as file:
                self._held = content = file.read()
        except FileNotFoundError:
            raise LoadError(f"{path} is missing: export the model with its LiteRT file") from None
        except OSError as error:
            raise LoadError(f"{path} cannot be read: {error.strerror}") from error
        except MemoryError:
            raise LoadError(f"{path} does not fit into memory") from None
        self._sha256 = hashlib.sha256(content).hexdigest()
        if manifest is not None:
            manifest.check_hash(path.parent, path.name, self._sha256)
        if len(content) < 8 or content[4:8] != FILE_IDENTIFIER:
            raise LoadError(
                f"{path} is not a LiteRT model ({len(content)} bytes without the identifier "
                "TFL3): export it again, or wait until it is fully copied"
            )

    def content(self) -> bytes:
        """The content; raises StatusError UNAVAILABLE."""
        with self._lock:
            if not isinstance(self._held, bytes):
                file = self._held
                file.seek(0)
                content = file.read()
                if hashlib.sha256(content).hexdigest() != self._sha256:
                    raise StatusError(
                        Code.UNAVAILABLE,
                        f"{self._path} was overwritten while it was served: publish a new version "
                        "instead",
                    )
                file.close()
                self._held = content
            return self._held

    def release(self) -> None:
        """Free the content until it is needed; interpreters made of it keep it."""
        with self._lock, contextlib.suppress(OSError):  # the file is gone: the content stays
            if isinstance(self._held, bytes):
                self._held = open_regular(self._path)

    def close(self) -> None:
        """Free the content."""
        with self._lock:
            if not isinstance(self._held, bytes):
                self._held.close()
            self._held = b""


class LiteRTInterpreter:
    """An interpreter with a runner for each signature; for one thread at a time.

    Attributes:
        runners: by name of the signature.
        shapes: on which each signature ran last; running it on the same again is cheapest.
    """

    def __init__(
        self, content: bytes, threads: int, main_graph: Mapping[str, MainGraphSignature]
    ) -> None:
        """Make an interpreter of a model.tflite; raises any error of LiteRT.

        `main_graph` has the signatures that LiteRT does not find itself.
        """
        from ai_edge_litert.interpreter import Interpreter

        cut = cut_parse_example(content)

        def make() -> Any:
            with _without_info():
                interpreter = Interpreter(model_content=cut.content, num_threads=threads)
                interpreter.allocate_tensors()  # fails now, not at a request, on an unknown op
            return interpreter

        interpreter = make()
        self.runners: dict[str, Any] = {}
        for name in interpreter.get_signature_list():
            runner = interpreter.get_signature_runner(name)
            self.runners[name] = cut.runner(runner, cut.graphs.get(name, 0))
        if main_graph and self.runners:
            # An interpreter with such runners no longer allocates tensors itself.
            interpreter = make()
        for name, signature in main_graph.items():
            inputs = {**signature.inputs, **cut.main_graph_inputs()}
            runner = _MainGraphRunner(interpreter, inputs, signature.outputs)
            self.runners[name] = cut.runner(runner, 0)
        self.shapes: dict[str, Shapes] = {}

    def run(
        self, signature: str, feeds: Arrays, shapes: Shapes, specs: Mapping[str, TensorSpec]
    ) -> Outputs:
        """Run a signature; returns copies of all outputs. `specs` are its inputs, for errors.

        After a StatusError (INVALID_ARGUMENT) the interpreter must not be used again.
        """
        readable = {name: _readable(feed) for name, feed in feeds.items()}
        try:
            # LiteRT skips resizing if the shapes stay the same.
            outputs: Outputs = self.runners[signature](**readable)
        except (RuntimeError, ValueError) as error:
            given = ", ".join(
                f"{name}: {_described(feed)}, declared {shape_text(specs[name].shape)}"
                for name, feed in feeds.items()
            )
            # LiteRT puts no space between its sentences.
            text = str(error).replace("Node number", "; node number")
            raise invalid(
                f'LiteRT cannot run the signature "{signature}" on these inputs ({given}): {text}'
            ) from error
        self.shapes[signature] = shapes
        return outputs


@dataclass(frozen=True)
class _MainGraphRunner:
    """A signature of the main graph, with the interface of LiteRT's own signature runners."""

    interpreter: Any
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]

    def get_input_details(self) -> dict[str, Any]:
        return _by_name(self.inputs, self.interpreter.get_input_details())

    def get_output_details(self) -> dict[str, Any]:
        return _by_name(self.outputs, self.interpreter.get_output_details())

    def __call__(self, **feeds: NDArray[Any]) -> Outputs:
        for name, feed in feeds.items():
            self.interpreter.resize_tensor_input(self.inputs[name], feed.shape)
        self.interpreter.allocate_tensors()
        for name, feed in feeds.items():
            self.interpreter.set_tensor(self.inputs[name], feed)
        self.interpreter.invoke()
        return {name: self.interpreter.get_tensor(index) for name, index in self.outputs.items()}


def _by_name(names: Mapping[str, int], details: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    by_index = {detail["index"]: detail for detail in details}
    return {name: by_index[index] for name, index in names.items()}


def _readable(feed: NDArray[Any]) -> NDArray[Any]:
    """Make a feed readable for LiteRT, which would read the pointer of a string scalar."""
    if feed.dtype == object and not feed.ndim:
        return np.ndarray((), f"S{len(feed[()])}", feed[()])
    return feed


def _described(feed: NDArray[Any]) -> str:
    return f"{dtype_name(feed.dtype)} of shape {shape_text(feed.shape)}"


_lock = threading.Lock()
_done = threading.Event()


@contextlib.contextmanager
def _without_info() -> Iterator[None]:
    """Drop the INFO lines that native code writes during the first such block of a process.

    LiteRT has no setting for it: the first interpreter of a process writes "INFO: Created
    TensorFlow Lite XNNPACK delegate for CPU." to file descriptor 2. All other lines, of other
    threads too, are written when the block ends. Concurrent blocks wait for the first one; later
    ones do nothing.
    """
    with contextlib.ExitStack() as stack:
        if not _done.is_set():
            stack.enter_context(_lock)
        if not _done.is_set():
            stack.callback(_done.set)
            stack.enter_context(_filtered_stderr())
        yield


@contextlib.contextmanager
def _filtered_stderr() -> Iterator[None]:
    try:
        lines, stderr = tempfile.TemporaryFile(), os.dup(_STDERR)  # noqa: SIM115
    except OSError:  # no room for a file, or stderr is closed: the line is harmless
        yield
        return
    with lines:
        os.dup2(lines.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(stderr, _STDERR)
            os.close(stderr)
            lines.seek(0)
            for line in lines:
                if not line.startswith(b"INFO: "):
                    os.write(_STDERR, line)


class Pool:
    """Interpreters of one model, each used by one request at a time; made when needed.

    Resizing the inputs of an interpreter can cost as much as running it on one example. So a
    request gets an idle one that last ran on its shapes; else a new one, as long as there are few;
    else the one that has been idle for longest.
    """

    def __init__(
        self,
        make: Callable[[], LiteRTInterpreter],
        first: LiteRTInterpreter,
        *,
        at_once: int,
        for_shapes: int,
    ) -> None:
        """Make a pool with a first interpreter; `make` makes others.

        At most `at_once` are in use; further requests wait. As many as `for_shapes` may exist only
        so that each has shapes of its own.
        """
        self._make, self._at_once, self._for_shapes = make, at_once, for_shapes
        self._idle = [first]  # the one used last comes last
        self._lent = self._waiting = 0
        self._lock = threading.Lock()
        self._returned = threading.Condition(self._lock)

    def take(self, signature: str, shapes: Shapes, deadline: Deadline) -> LiteRTInterpreter:
        """Borrow an interpreter for inputs of these shapes; raises as Deadline.check()."""
        with self._lock:
            while self._lent >= self._at_once:
                if not deadline.may_block:
                    raise WouldBlockError
                self._waiting += 1
                try:
                    if not self._returned.wait(deadline.remaining()):
                        raise DeadlinePassedError
                finally:
                    self._waiting -= 1
            self._lent += 1
            found = self._find(signature, shapes)
        try:
            deadline.check()
            if found is None and not deadline.may_block:  # making one takes long
                raise WouldBlockError
            return found or self._make()
        except BaseException:  # of any kind: the interpreter must not be lost
            self.give_back(found)
            raise

    def give_back(self, interpreter: LiteRTInterpreter | None) -> None:
        """Return an interpreter; None if it must not be used again."""
        with self._lock:
            self._lent -= 1
            if interpreter is not None:
                self._idle.append(interpreter)
            if self._waiting:
                self._returned.notify()

    def clear(self) -> None:
        """Free the idle interpreters; the next request makes a new one."""
        with self._lock:
            self._idle.clear()

    def _find(self, signature: str, shapes: Shapes) -> LiteRTInterpreter | None:
        """An idle interpreter; None if one should be made."""
        for number in range(len(self._idle) - 1, -1, -1):
            if self._idle[number].shapes.get(signature) == shapes:
                return self._idle.pop(number)
        # The lent ones include the one about to be made.
        if not self._idle or len(self._idle) + self._lent <= self._for_shapes:
            return None
        return self._idle.pop(0)


class LiteRTEngine:
    """One version in LiteRT."""

    name = "LiteRT"

    def __init__(
        self,
        version_folder: Path,
        manifest: Manifest | None = None,
        *,
        threads: int = 1,
        interpreters: int | None = None,
    ) -> None:
        """Load the model.tflite of a folder; raises LoadError, or ManifestError if it differs.

        Each interpreter has its `threads`; as many as `interpreters` (None: one for each core) run
        at once.
        """
        path = version_folder / MODEL_FILE
        self._file = ModelFile(path, manifest)
        content = self._file.content()
        try:
            main_graph = main_graph_signatures(content)
            first = LiteRTInterpreter(content, threads, main_graph)
            self.signatures: Mapping[str, Signature] = describe(content, first.runners, main_graph)
        except UnsupportedModelError as error:
            raise UnsupportedModelError(f"{path}: {error}") from error
        except Exception as error:  # LiteRT raises ValueError, RuntimeError, UnicodeError and more
            missing = ""
            with contextlib.suppress(Exception):  # the file is damaged, as the first error says
                missing = unsupported_ops(content)
            if missing:
                raise UnsupportedModelError(f"{path} needs {missing}") from error
            raise LoadError(
                f"{path} is damaged or holds what LiteRT cannot run ({error}): export it again"
            ) from error
        self._pool = Pool(
            lambda: LiteRTInterpreter(self._file.content(), threads, main_graph),
            first,
            at_once=interpreters or os.cpu_count() or 1,
            for_shapes=_FOR_SHAPES if len(content) <= _SMALL_MODEL_BYTES else 1,
        )

    def run(
        self, signature: str, feeds: Arrays, fetches: list[str], deadline: Deadline = NO_DEADLINE
    ) -> Outputs:
        """Run a signature; see Engine."""
        shapes = []
        run = self._run
        for name, spec in self.signatures[signature].inputs.items():
            feed = feeds[name]
            if feed.dtype != spec.dtype:
                raise invalid(f"input {name!r}: expected {spec}, got {_described(feed)}")
            if feed.ndim > _MOST_DIMENSIONS and feed.ndim != len(spec.shape or ()):
                raise invalid(
                    f"input {name!r}: expected at most {_MOST_DIMENSIONS} dimensions, which LiteRT "
                    f"takes, got {_described(feed)}"
                )
            shapes.append(feed.shape)
            if 0 in feed.shape:
                run = self._run_empty
        outputs = run(signature, feeds, tuple(shapes), deadline)
        return {
            name: output if isinstance(output := outputs[name], np.ndarray) else as_array(output)
            for name in fetches
        }

    def close(self) -> None:
        """Free the interpreters and the model."""
        self._pool.clear()
        self._file.close()

    def rest(self) -> None:
        """Free the interpreters and the model until the next request."""
        self._pool.clear()
        self._file.release()

    def _run(self, signature: str, feeds: Arrays, shapes: Shapes, deadline: Deadline) -> Outputs:
        interpreter = self._pool.take(signature, shapes, deadline)
        healthy = None  # after a failure an interpreter's state is unknown
        try:
            outputs = interpreter.run(signature, feeds, shapes, self.signatures[signature].inputs)
            healthy = interpreter
        finally:
            self._pool.give_back(healthy)
        return outputs

    def _run_empty(
        self, signature: str, feeds: Arrays, shapes: Shapes, deadline: Deadline
    ) -> Outputs:
        """Run a signature on a feed without values, such as a batch of no example.

        Many kernels of LiteRT fail on it or return arbitrary shapes. So an example of zeros is run
        instead, if it is not too large, and removed from the outputs.
        """
        specs = self.signatures[signature]
        rows = {-1}  # the sizes of rows in the declared shapes
        one = {}
        for name, feed in feeds.items():
            if prod(feed.shape[1:]) * feed.itemsize > MAX_FILLED_BYTES:
                raise invalid(
                    f"input {name!r}: shape {shape_text(feed.shape)} has no value, but is too large"
                )
            one[name] = feed
            if feed.shape[:1] == (0,):
                rows.update((specs.inputs[name].shape or ())[:1])
                blank: Any = b"" if feed.dtype == object else 0
                one[name] = np.full((1, *feed.shape[1:]), blank, feed.dtype)
        one_shapes = tuple(one[name].shape for name in specs.inputs)
        outputs = self._run(signature, one, one_shapes, deadline)
        if one_shapes == shapes:
            return outputs

        def is_batch(name: str, output: NDArray[Any]) -> bool:
            shape = specs.outputs[name].shape
            return output.ndim > 0 and (shape is None or not rows.isdisjoint(shape[:1]))

        return {n: output[:0] if is_batch(n, output) else output for n, output in outputs.items()}


def load(folder: Path, options: EngineOptions, manifest: Manifest) -> LiteRTEngine:
    """Load a version; raises LoadError, or ManifestError if it differs."""
    pools = options.litert_pools or os.cpu_count() or 1
    return LiteRTEngine(
        folder,
        manifest,
        threads=options.intra_op_threads or 1,
        interpreters=pools * options.litert_interpreters,
    )


RUNTIME = Runtime(
    name=LiteRTEngine.name,
    package="ai_edge_litert",
    install="pip install 'rockstartf[serve]'",
    files=(MODEL_FILE,),
    reads=(),
    export="export the model with its LiteRT file, as rockstar train does",
    rank=lambda options: 0 if options.prefer_tflite else 20,
    load=load,
)
