"""One interpreter of LiteRT and the signatures of a model.

A file holds signatures in one of two places, or in none. The converter of TensorFlow 2 writes
SignatureDefs of the FlatBuffers schema, which LiteRT runs and TensorFlow Serving ignores. Older
tools write TensorFlow's SignatureDef messages into the metadata (`signature_def_util.cc`); they
refer to tensors of the main graph by name. Without metadata TensorFlow Serving makes a
`serving_default` of the main graph, whose inputs and outputs have the names of their tensors
(`tflite_session.cc`).
"""

import contextlib
import os
import struct
import tempfile
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from flatbuffers import flexbuffers
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from rockstar_serving.model_server.engines.litert_examples import cut_parse_example
from tfs_api.messages.signature_pb2 import SignatureDef, TensorInfo
from tfs_api.signature import (
    DEFAULT_SIGNATURE,
    PREDICT_METHOD,
    Signature,
    TensorSpec,
    dtype_name,
    shape_text,
)
from tfs_api.status import Code, StatusError
from tfs_api.tensors import shape_proto, to_array, wire_type

_METADATA = b"signature_defs_metadata"

Details = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class MainGraphSignature:
    """A signature of the main graph.

    Attributes:
        inputs: indices of tensors, by name of the input.
        outputs: indices of tensors, by name of the output.
        message: what the metadata holds, with the tensors' names as they are in the file.
    """

    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    message: SignatureDef | None = None


def main_graph_signatures(content: bytes) -> dict[str, MainGraphSignature]:
    """The signatures that TensorFlow Serving finds and LiteRT does not.

    Args:
        content: of model.tflite.

    Raises:
        ValueError: the metadata cannot be read, or a tensor's name is unknown or not unique.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    messages = _read_metadata(model)
    known = {model.SignatureDefs(i).SignatureKey() for i in range(model.SignatureDefsLength())}
    if not messages and DEFAULT_SIGNATURE.encode() in known:
        return {}
    graph = model.Subgraphs(0)
    inputs = _by_name(graph, [graph.Inputs(i) for i in range(graph.InputsLength())])
    outputs = _by_name(graph, [graph.Outputs(i) for i in range(graph.OutputsLength())])
    if inputs is None or outputs is None:
        if known:
            return {}
        raise ValueError("two tensors of its main graph have the same name")
    if messages:
        return {
            name: MainGraphSignature(
                _resolve(name, message.inputs, inputs),
                _resolve(name, message.outputs, outputs),
                message,
            )
            for name, message in messages.items()
        }
    return {
        DEFAULT_SIGNATURE: MainGraphSignature(
            {short: inputs[name] for name, short in _short_names(inputs).items()},
            {short: outputs[name] for name, short in _short_names(outputs).items()},
        )
    }


def describe(
    content: bytes, runners: Mapping[str, Any], main_graph: Mapping[str, MainGraphSignature]
) -> dict[str, Signature]:
    """The signatures of a model.

    Args:
        content: of model.tflite.
        runners: of an interpreter, by signature.
        main_graph: what main_graph_signatures() found.

    Raises:
        ValueError: a tensor's dtype cannot travel; and what LiteRT raises.
    """
    sides: dict[str, tuple[Details, Details]] = {
        name: (runner.get_input_details(), runner.get_output_details())
        for name, runner in runners.items()
    }
    flat = any(
        not len(detail["shape"])
        for both in sides.values()
        for side in both
        for detail in side.values()
    )
    unranked = _unranked(content, main_graph) if flat else {}
    return {
        name: _signature(*both, unranked.get(name, frozenset()), main_graph.get(name))
        for name, both in sides.items()
    }


def _signature(
    inputs: Details,
    outputs: Details,
    unranked: frozenset[int],
    main_graph: MainGraphSignature | None,
) -> Signature:
    signature = Signature(
        {name: _spec(detail, unranked) for name, detail in inputs.items()},
        {name: _spec(detail, unranked) for name, detail in outputs.items()},
    )
    if main_graph is None:
        return replace(signature, other_names=_other_names(signature))
    if main_graph.message is None:
        message = SignatureDef(
            inputs={name: _tensor_info(detail) for name, detail in inputs.items()},
            outputs={name: _tensor_info(detail) for name, detail in outputs.items()},
            method_name=PREDICT_METHOD,
        )
        return replace(signature, message=message, other_names=_other_names(signature))
    message = main_graph.message
    defaults = {name: to_array(value) for name, value in message.defaults.items()}
    return replace(signature, message=message, method_name=message.method_name, defaults=defaults)


def _other_names(signature: Signature) -> list[Signature]:
    """The signature with the names that TensorFlow Serving gives it, and with those of its tensors.

    TensorFlow Serving cuts ":0" off. Where that leaves two tensors with the same name it answers
    only one of them; here both keep it.
    """
    inputs = {spec.tensor: spec for spec in signature.inputs.values()}
    outputs = {spec.tensor: spec for spec in signature.outputs.values()}
    renamed = [
        replace(
            signature,
            inputs={short: inputs[name] for name, short in _short_names(inputs).items()},
            outputs={short: outputs[name] for name, short in _short_names(outputs).items()},
        ),
        replace(signature, inputs=inputs, outputs=outputs),
    ]
    return [
        each
        for each in renamed
        if (each.inputs.keys(), each.outputs.keys())
        != (signature.inputs.keys(), signature.outputs.keys())
    ]


def _short_names(names: Collection[str]) -> dict[str, str]:
    """Names of tensors without what follows the colon, where that is unique."""
    short = {name: name.partition(":")[0] for name in names}
    count = Counter(short.values())
    return {name: each if count[each] == 1 else name for name, each in short.items()}


def _read_metadata(model: Any) -> dict[str, SignatureDef]:
    for i in range(model.MetadataLength()):
        entry = model.Metadata(i)
        if entry.Name() == _METADATA:
            content = model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
            break
    else:
        return {}
    try:
        found = flexbuffers.GetRoot(content).AsMap
        return {
            key.AsKey: SignatureDef.FromString(value.AsStringBytes)
            for key, value in zip(found.Keys, found.Values, strict=True)
        }
    except (DecodeError, TypeError, ValueError, IndexError, struct.error) as error:
        raise ValueError(f"the signatures in its metadata cannot be read: {error}") from error


def _resolve(
    signature: str, infos: Mapping[str, TensorInfo], tensors: Mapping[str, int]
) -> dict[str, int]:
    """Indices of the tensors that a message refers to; their names in it are corrected."""
    indices = {}
    for name in sorted(infos):
        info = infos[name]
        if info.name not in tensors:
            # The first converters wrote the tensor "x:0" as "x".
            info.name = info.name.partition(":")[0]
        if info.name not in tensors:
            raise ValueError(
                f'the signature "{signature}" in its metadata names the tensor {info.name!r} for '
                f"{name!r}, and the main graph has {', '.join(tensors)}"
            )
        indices[name] = tensors[info.name]
    return indices


def _by_name(graph: Any, indices: Sequence[int]) -> dict[str, int] | None:
    """Tensors by name, in the order of names; None where two have the same."""
    named = {graph.Tensors(index).Name().decode(): index for index in indices}
    return dict(sorted(named.items())) if len(named) == len(set(indices)) else None


def _tensor_info(detail: Mapping[str, Any]) -> TensorInfo:
    """TensorFlow Serving's description of a tensor: its sizes are those before any resizing."""
    return TensorInfo(
        name=detail["name"],
        dtype=wire_type(_dtype(detail)).number,
        tensor_shape=shape_proto(tuple(int(size) for size in detail["shape"])),
    )


def _spec(detail: Mapping[str, Any], unranked: frozenset[int]) -> TensorSpec:
    dtype = _dtype(detail)
    wire_type(dtype)  # a dtype that cannot travel is found at load, not at the first request
    shape = detail["shape_signature"]
    if not len(shape):
        shape = detail["shape"]
    if not len(shape) and detail["index"] in unranked:
        return TensorSpec(detail["name"], dtype, None)
    return TensorSpec(detail["name"], dtype, tuple(int(size) for size in shape))


def _dtype(detail: Mapping[str, Any]) -> np.dtype[Any]:
    dtype = np.dtype(detail["dtype"])
    return np.dtype(object) if dtype.kind in "SU" else dtype


def _unranked(
    content: bytes, main_graph: Mapping[str, MainGraphSignature]
) -> dict[str, frozenset[int]]:
    """Tensors of any rank, by signature; the interpreter describes them as scalars."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    definitions = [model.SignatureDefs(number) for number in range(model.SignatureDefsLength())]
    graphs = {each.SignatureKey().decode(): each.SubgraphIndex() for each in definitions}
    unranked = {}
    for name, number in {**graphs, **dict.fromkeys(main_graph, 0)}.items():
        graph = model.Subgraphs(number)
        tensors = range(graph.TensorsLength())
        unranked[name] = frozenset(i for i in tensors if not graph.Tensors(i).HasRank())
    return unranked


Feeds = Mapping[str, NDArray[Any]]
# Of the inputs of a signature, in their order there.
Shapes = tuple[tuple[int, ...], ...]


class LiteRTInterpreter:
    """An interpreter with a runner for each signature; for one thread at a time.

    Attributes:
        runners: by name of the signature.
        shapes: on which each signature ran last; running it on the same again is cheapest.
    """

    def __init__(
        self, content: bytes, threads: int, main_graph: Mapping[str, MainGraphSignature]
    ) -> None:
        """Make an interpreter; raises what LiteRT raises.

        Args:
            content: of a model.tflite.
            threads: that it uses.
            main_graph: signatures that LiteRT does not find itself.
        """
        from ai_edge_litert.interpreter import Interpreter

        cut = cut_parse_example(content)

        def make() -> Any:
            with _without_info():
                interpreter = Interpreter(
                    model_content=cut.content if cut else content, num_threads=threads
                )
                interpreter.allocate_tensors()  # fails now, not at a request, on an unknown op
            return interpreter

        interpreter = make()
        self.runners: dict[str, Any] = {}
        for name in interpreter.get_signature_list():
            runner = interpreter.get_signature_runner(name)
            self.runners[name] = cut.runner(runner, cut.graphs[name]) if cut else runner
        if main_graph and self.runners:
            # An interpreter does not allocate tensors itself any more once it has such runners.
            interpreter = make()
        for name, signature in main_graph.items():
            more = cut.main_graph_inputs() if cut else {}
            runner = _MainGraphRunner(interpreter, {**signature.inputs, **more}, signature.outputs)
            self.runners[name] = cut.runner(runner, 0) if cut else runner
        self.shapes: dict[str, Shapes] = {}

    def run(self, signature: str, feeds: Feeds, shapes: Shapes) -> dict[str, NDArray[Any]]:
        """Run a signature.

        Returns:
            All outputs, copied.

        Raises:
            StatusError: INVALID_ARGUMENT; use the interpreter no more.
        """
        try:
            # LiteRT itself skips the resizing where shapes stay the same.
            outputs: dict[str, NDArray[Any]] = self.runners[signature](
                **{name: _readable(feed) for name, feed in feeds.items()}
            )
        except (RuntimeError, ValueError) as error:
            raise _failure(signature, feeds, error) from error
        self.shapes[signature] = shapes
        return outputs


class _MainGraphRunner:
    """A signature of the main graph, with the interface of LiteRT's own signature runners."""

    def __init__(
        self, interpreter: Any, inputs: Mapping[str, int], outputs: Mapping[str, int]
    ) -> None:
        self._interpreter = interpreter
        self._inputs = inputs
        self._outputs = outputs

    def get_input_details(self) -> dict[str, Any]:
        details = {detail["index"]: detail for detail in self._interpreter.get_input_details()}
        return {name: details[index] for name, index in self._inputs.items()}

    def get_output_details(self) -> dict[str, Any]:
        details = {detail["index"]: detail for detail in self._interpreter.get_output_details()}
        return {name: details[index] for name, index in self._outputs.items()}

    def __call__(self, **feeds: NDArray[Any]) -> dict[str, NDArray[Any]]:
        for name, feed in feeds.items():
            self._interpreter.resize_tensor_input(self._inputs[name], feed.shape)
        self._interpreter.allocate_tensors()
        for name, feed in feeds.items():
            self._interpreter.set_tensor(self._inputs[name], feed)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}


def _failure(signature: str, feeds: Feeds, error: Exception) -> StatusError:
    given = ", ".join(
        f"{name}: {dtype_name(feed.dtype)} of shape {shape_text(feed.shape)}"
        for name, feed in feeds.items()
    )
    # LiteRT puts no space between its sentences.
    text = str(error).replace("Node number", "; node number")
    return StatusError(
        Code.INVALID_ARGUMENT,
        f'LiteRT cannot run the signature "{signature}" on these inputs ({given}): {text}',
    )


def _readable(feed: NDArray[Any]) -> NDArray[Any]:
    """A feed as LiteRT can read it: for a string without dimensions it would read the pointer."""
    if feed.dtype == object and not feed.ndim:
        return np.ndarray((), f"S{len(feed[()])}", feed[()])
    return feed


_STDERR = 2
_lock = threading.Lock()
_done = threading.Event()


@contextlib.contextmanager
def _without_info() -> Iterator[None]:
    """Drop the INFO lines that native code writes during the first such block of a process.

    LiteRT has no setting for it: the first interpreter of a process writes "INFO: Created
    TensorFlow Lite XNNPACK delegate for CPU." to file descriptor 2. All other lines, of other
    threads too, are passed on when the block ends. Blocks that start meanwhile wait for it; later
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
    except OSError:  # no room for a file, or stderr is closed: better a line too many
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
