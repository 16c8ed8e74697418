"""tf.Examples in LiteRT models.

TensorFlow Serving links the custom ops ParseExample and ParseExampleV2 into LiteRT, whose wheel
lacks them (`parse_example.cc` in TensorFlow's tree). Here they are cut out of a model: the tensors
that they would fill become inputs of the graph, and are filled in Python.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

import flatbuffers
import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from rockstar_serving.model_server.engines.engine import UnsupportedModelError
from tfs_api.messages.example_pb2 import Example
from tfs_api.status import Code, StatusError

_V1, _V2 = b"ParseExample", b"ParseExampleV2"
_IDENTIFIER = b"TFL3"
# Of the FlatBuffers schema: dtypes that a tf.Example holds, with its name for them.
_KINDS = {0: "float_list", 4: "int64_list", 5: "bytes_list"}
_DTYPES: dict[str, np.dtype[Any]] = {
    "float_list": np.dtype(np.float32),
    "int64_list": np.dtype(np.int64),
    "bytes_list": np.dtype(object),
}
_WORDS = {"float_list": "float", "int64_list": "int64", "bytes_list": "string"}


@dataclass(frozen=True)
class _Sparse:
    """A feature of any number of values.

    Attributes:
        key: of the feature.
        kind: of the feature.
        outputs: indices of the tensors for indices, values and shape.
    """

    key: str
    kind: str
    outputs: tuple[int, int, int]


@dataclass(frozen=True)
class _Dense:
    """A feature of a fixed number of values.

    Attributes:
        key: of the feature.
        kind: of the feature.
        shape: of the values of one example.
        default: the values of an example without the feature, flat; None: it must have it.
        output: index of the tensor.
    """

    key: str
    kind: str
    shape: tuple[int, ...]
    default: Sequence[Any] | None
    output: int


@dataclass(frozen=True)
class ParseExample:
    """One such op.

    Attributes:
        serialized: index of the tensor with the serialized tf.Examples.
        sparse: its sparse features.
        dense: its dense features.
    """

    serialized: int
    sparse: Sequence[_Sparse]
    dense: Sequence[_Dense]

    def run(self, serialized: NDArray[Any]) -> dict[int, NDArray[Any]]:
        """The tensors that the op would fill, by index.

        Args:
            serialized: tf.Examples, as bytes [n].

        Raises:
            StatusError: INVALID_ARGUMENT, with TensorFlow's texts.
        """
        rows = [_features(example) for example in serialized.ravel().tolist()]
        filled = {}
        for dense in self.dense:
            values = [v for i, row in enumerate(rows) for v in _dense_values(row, dense, i)]
            filled[dense.output] = _array(values, dense.kind).reshape(len(rows), *dense.shape)
        for sparse in self.sparse:
            lists = [_values(row, sparse, i) or () for i, row in enumerate(rows)]
            pairs = [(i, j) for i, each in enumerate(lists) for j in range(len(each))]
            longest = max((len(each) for each in lists), default=0)
            indices, values_, shape = sparse.outputs
            filled[indices] = np.array(pairs, np.int64).reshape(-1, 2)
            filled[values_] = _array([v for each in lists for v in each], sparse.kind)
            filled[shape] = np.array([len(rows), longest], np.int64)
        return filled

    @property
    def outputs(self) -> list[int]:
        """Indices of the tensors that it fills."""
        return [d.output for d in self.dense] + [i for s in self.sparse for i in s.outputs]


@dataclass(frozen=True)
class CutModel:
    """A model without its ParseExample ops.

    Attributes:
        content: of a model.tflite.
        ops: that were in each of its graphs.
        graphs: number of the graph, by the signatures that LiteRT knows.
    """

    content: bytes
    ops: Sequence[Sequence[ParseExample]]
    graphs: Mapping[str, int]

    def main_graph_inputs(self) -> dict[str, int]:
        """The inputs that the main graph has instead of its ops."""
        return {_input_name(i): i for op in self.ops[0] for i in op.outputs}

    def runner(self, runner: Any, graph: int) -> Any:
        """Make a runner of a graph of this model take what the graph took before."""
        return _ParsingRunner(runner, self.ops[graph]) if self.ops[graph] else runner


class _ParsingRunner:
    """Fills the inputs of a cut model from serialized tf.Examples."""

    def __init__(self, runner: Any, ops: Sequence[ParseExample]) -> None:
        self._runner = runner
        filled = {_input_name(i) for op in ops for i in op.outputs}
        self._inputs = {
            name: detail
            for name, detail in runner.get_input_details().items()
            if name not in filled
        }
        names = {detail["index"]: name for name, detail in self._inputs.items()}
        self._ops = [(names[op.serialized], op) for op in ops]

    def get_input_details(self) -> dict[str, Any]:
        return self._inputs

    def get_output_details(self) -> dict[str, Any]:
        details: dict[str, Any] = self._runner.get_output_details()
        return details

    def __call__(self, **feeds: NDArray[Any]) -> dict[str, NDArray[Any]]:
        filled = {
            _input_name(index): array
            for name, op in self._ops
            for index, array in op.run(feeds[name]).items()
        }
        outputs: dict[str, NDArray[Any]] = self._runner(**feeds, **filled)
        return outputs


def cut_parse_example(content: bytes) -> CutModel | None:
    """A model without its ParseExample ops; None if it has none.

    Raises:
        UnsupportedModelError: an op has ragged features, or takes what the graph computes.
    """
    from ai_edge_litert import schema_py_generated as schema

    root = schema.Model.GetRootAs(content, 0)
    codes = {
        number: name
        for number in range(root.OperatorCodesLength())
        if (name := root.OperatorCodes(number).CustomCode()) in (_V1, _V2)
    }
    if not codes:
        return None
    model = schema.ModelT.InitFromPackedBuf(content)
    cut: list[list[ParseExample]] = []
    for graph in model.subgraphs:
        parsing = [op for op in graph.operators or [] if op.opcodeIndex in codes]
        cut.append([_read(model, graph, op, codes[op.opcodeIndex]) for op in parsing])
        graph.operators = [op for op in graph.operators or [] if op.opcodeIndex not in codes]
        graph.inputs = [*graph.inputs, *(i for op in cut[-1] for i in op.outputs)]
    graphs = {}
    for definition in model.signatureDefs or []:
        graphs[definition.signatureKey.decode()] = definition.subgraphIndex
        for index in (i for op in cut[definition.subgraphIndex] for i in op.outputs):
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = _input_name(index), index
            definition.inputs.append(entry)
    builder = flatbuffers.Builder(len(content) + 1024)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return CutModel(bytes(builder.Output()), cut, graphs)


def _read(model: Any, graph: Any, op: Any, code: bytes) -> ParseExample:
    inputs, outputs = [int(i) for i in op.inputs], [int(i) for i in op.outputs]
    if inputs[0] not in graph.inputs:
        raise UnsupportedModelError(
            f"{code.decode()} parses tf.Examples that are no input of the model"
        )

    def constant(index: int) -> list[Any]:
        return _constant(model, graph.tensors[index])

    if code == _V1:
        # Both counts follow from the number of inputs (2 + sparse + 2 dense) and of outputs
        # (3 sparse + dense).
        sparse_count = (2 * len(outputs) - len(inputs) + 2) // 5
        dense_count = len(outputs) - 3 * sparse_count
        keys = [
            key for index in inputs[2 : 2 + sparse_count + dense_count] for key in constant(index)
        ]
        sparse_keys, dense_keys = keys[:sparse_count], keys[sparse_count:]
    else:
        sparse_keys, dense_keys = constant(inputs[2]), constant(inputs[3])
        if constant(inputs[4]):
            raise UnsupportedModelError("ParseExampleV2 with ragged features cannot be run")
    count = len(sparse_keys)
    sparse = []
    for i, key in enumerate(sparse_keys):
        three = (outputs[i], outputs[count + i], outputs[2 * count + i])
        sparse.append(_Sparse(key.decode(), _kind(graph, three[1]), three))
    dense = []
    for i, key in enumerate(dense_keys):
        output = outputs[3 * count + i]
        # Without its first size, the number of examples.
        shape = tuple(int(size) for size in graph.tensors[output].shape[1:])
        default = constant(inputs[len(inputs) - len(dense_keys) + i])
        if len(default) == 1:
            default *= prod(shape)
        kind = _kind(graph, output)
        dense.append(_Dense(key.decode(), kind, shape, default or None, output))
    return ParseExample(inputs[0], sparse, dense)


def _kind(graph: Any, index: int) -> str:
    return _KINDS[graph.tensors[index].type]


def _constant(model: Any, tensor: Any) -> list[Any]:
    """The values of a tensor, flat."""
    data = model.buffers[tensor.buffer].data
    if data is None:
        if tensor.shape is not None and 0 in tensor.shape:
            return []
        raise UnsupportedModelError(
            f"the tensor {tensor.name.decode()} of ParseExample is no constant"
        )
    content = np.asarray(data, np.uint8).tobytes()
    kind = _KINDS[tensor.type]
    if kind != "bytes_list":
        numbers: list[Any] = np.frombuffer(content, _DTYPES[kind]).tolist()
        return numbers
    # The number of strings, and where each begins and the last ends, as int32 (`string_util.h`).
    (count,) = np.frombuffer(content, "<i4", 1)
    ends = np.frombuffer(content, "<i4", count + 1, 4)
    return [content[start:end] for start, end in pairwise(ends)]


def _input_name(index: int) -> str:
    return f"parsed tensor {index}"


def _features(serialized: bytes) -> Mapping[str, Any]:
    try:
        return Example.FromString(serialized).features.feature
    except DecodeError as error:
        text = serialized.decode("utf-8", "backslashreplace")
        raise _invalid(f"Could not parse example input, value: '{text}'") from error


def _values(features: Mapping[str, Any], wanted: _Sparse | _Dense, index: int) -> Any:
    """The values of a feature; None where an example does not have it."""
    feature = features.get(wanted.key)
    kind = feature.WhichOneof("kind") if feature is not None else None
    if kind is None:
        return None
    if kind != wanted.kind:
        raise _invalid(
            f"Key: {wanted.key}, Index: {index}.  Data types don't match. "
            f"Data type: {_WORDS[kind]} but expected type: {_WORDS[wanted.kind]}"
        )
    return getattr(feature, kind).value


def _dense_values(features: Mapping[str, Any], wanted: _Dense, index: int) -> Any:
    """The values of a dense feature, flat."""
    values = _values(features, wanted, index)
    if values is None:
        if wanted.default is None:
            raise _invalid(
                f"Feature: {wanted.key} (data type: {_WORDS[wanted.kind]}) is required but could "
                "not be found."
            )
        return wanted.default
    if len(values) != prod(wanted.shape):
        raise _invalid(
            f"Key: {wanted.key}, Index: {index}.  Number of {_WORDS[wanted.kind]} values != "
            f"expected.  Values size: {len(values)} but output shape: {list(wanted.shape)}"
        )
    return values


def _array(values: Sequence[Any], kind: str) -> NDArray[Any]:
    array = np.empty(len(values), _DTYPES[kind])
    array[:] = values
    return array


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
