"""The content of a model.tflite: its signatures, and the ops that LiteRT's wheel lacks.

A file holds signatures in one of two places, or none. The converter of TensorFlow 2 writes
SignatureDefs of the FlatBuffers schema, which LiteRT runs and TensorFlow Serving ignores. Older
tools write TensorFlow's SignatureDef messages into the metadata (`signature_def_util.cc`); they
refer to tensors of the main graph by name. Without metadata TensorFlow Serving makes a
`serving_default` of the main graph, whose inputs and outputs have the names of their tensors
(`tflite_session.cc`).

TensorFlow Serving links the custom ops ParseExample and ParseExampleV2 into LiteRT, whose wheel
lacks them (`parse_example.cc` in TensorFlow's tree). Here they are cut out of a model: the tensors
that they would fill become inputs of the graph, and Python code fills them.
"""

import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import prod
from typing import Any, TypeVar

import flatbuffers
import numpy as np
from flatbuffers import flexbuffers
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from rockstar_serving.model_server.engines.engine import Arrays, UnsupportedModelError
from tfs_api.messages.example_pb2 import Example
from tfs_api.messages.signature_pb2 import SignatureDef, TensorInfo
from tfs_api.signature import DEFAULT_SIGNATURE, PREDICT_METHOD, Signature, TensorSpec
from tfs_api.status import invalid
from tfs_api.tensors import shape_proto, to_array, wire_type

FILE_IDENTIFIER = b"TFL3"  # of the FlatBuffers schema, at bytes 4 to 8

_METADATA = b"signature_defs_metadata"
_V1, _V2 = b"ParseExample", b"ParseExampleV2"
# By type in the FlatBuffers schema: the field of a tf.Example, its dtype, and TensorFlow's name.
_KINDS = {0: "float_list", 4: "int64_list", 5: "bytes_list"}
_DTYPES: dict[str, Any] = {"float_list": np.float32, "int64_list": np.int64, "bytes_list": object}
_WORDS = {"float_list": "float", "int64_list": "int64", "bytes_list": "string"}
_FLEX = "Flex"
# Prefixes of the custom ops that can be run; most are in LiteRT's own `register.cc`.
_SUPPORTED = (
    "ParseExample",  # see above
    *("AudioSpectrogram", "Mfcc", "NumericVerify", "TFLite_Detection_PostProcess"),
    *("aeq.", "odml."),
)

Details = Mapping[str, Mapping[str, Any]]
_T = TypeVar("_T")


def _read_model(content: bytes) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema.Model.GetRootAs(content, 0)


def unsupported_ops(content: bytes) -> str:
    """The ops of a model.tflite that LiteRT's wheel lacks, and what to do; "" if there are none.

    TensorFlow Serving links in TensorFlow's own ops, which the converter writes as `Flex…`
    (SELECT_TF_OPS). Since 2.20 no wheel has them, not even TensorFlow's
    (google-ai-edge/LiteRT#6458). Damaged content may raise anything.
    """
    model = _read_model(content)
    codes = [model.OperatorCodes(number) for number in range(model.OperatorCodesLength())]
    custom = sorted({name.decode() for code in codes if (name := code.CustomCode())})
    missing = [op for op in custom if not op.startswith(_SUPPORTED)]
    if not missing:
        return ""
    own = [op for op in missing if not op.startswith(_FLEX)]
    kinds, setting = ("custom ops", "custom ops") if own else ("TensorFlow's ops", "SELECT_TF_OPS")
    return (
        f"{kinds} that LiteRT does not have ({', '.join(own or missing)}): convert it without "
        f"{setting}, or publish its SavedModel and install TensorFlow (pip install "
        "'rockstartf[train]')"
    )


@dataclass(frozen=True)
class MainGraphSignature:
    """A signature of the main graph: indices of tensors by name of the input or output.

    `message` is from the metadata, with the tensors' names as they are in the file.
    """

    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    message: SignatureDef | None = None


def main_graph_signatures(content: bytes) -> dict[str, MainGraphSignature]:
    """The signatures of a model.tflite that TensorFlow Serving finds and LiteRT does not.

    Raises ValueError if the metadata cannot be read, or a tensor's name is unknown or not unique.
    """
    model = _read_model(content)
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
        DEFAULT_SIGNATURE: MainGraphSignature(_with_short_names(inputs), _with_short_names(outputs))
    }


def _read_metadata(model: Any) -> dict[str, SignatureDef]:
    entries = (model.Metadata(i) for i in range(model.MetadataLength()))
    entry = next((each for each in entries if each.Name() == _METADATA), None)
    if entry is None:
        return {}
    content = model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
    try:
        found = flexbuffers.GetRoot(content).AsMap
        return {
            key.AsKey: SignatureDef.FromString(value.AsStringBytes)
            for key, value in zip(found.Keys, found.Values, strict=True)
        }
    except (DecodeError, TypeError, ValueError, IndexError, struct.error) as error:
        raise ValueError(f"the signatures in its metadata cannot be read: {error}") from error


def _by_name(graph: Any, indices: Sequence[int]) -> dict[str, int] | None:
    """Tensors by name, in the order of names; None if two have the same."""
    named = {graph.Tensors(index).Name().decode(): index for index in indices}
    return dict(sorted(named.items())) if len(named) == len(set(indices)) else None


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


def _with_short_names(tensors: Mapping[str, _T]) -> dict[str, _T]:
    """Cut the part after the colon off the names that are unique without it."""
    count = Counter(name.partition(":")[0] for name in tensors)
    return {
        short if count[short := name.partition(":")[0]] == 1 else name: tensor
        for name, tensor in tensors.items()
    }


def describe(
    content: bytes, runners: Mapping[str, Any], main_graph: Mapping[str, MainGraphSignature]
) -> dict[str, Signature]:
    """The signatures of a model.tflite, from an interpreter's runners and main_graph_signatures().

    Raises ValueError for a dtype that has no message; LiteRT raises other errors.
    """
    unranked = _unranked(content, main_graph)
    signatures = {}
    for name, runner in runners.items():
        sides: list[Details] = [runner.get_input_details(), runner.get_output_details()]
        any_rank = unranked.get(name, frozenset())
        specs = [{n: _spec(detail, any_rank) for n, detail in side.items()} for side in sides]
        signature = Signature(specs[0], specs[1])
        found = main_graph.get(name)
        if found is not None and (message := found.message) is not None:
            defaults = {n: to_array(value) for n, value in message.defaults.items()}
            method = message.method_name
            signature = replace(signature, message=message, method_name=method, defaults=defaults)
        else:
            if found is not None:
                infos = [{n: _tensor_info(detail) for n, detail in side.items()} for side in sides]
                message = SignatureDef(
                    inputs=infos[0], outputs=infos[1], method_name=PREDICT_METHOD
                )
                signature = replace(signature, message=message)
            signature = replace(signature, other_names=_other_names(signature))
        signatures[name] = signature
    return signatures


def _other_names(signature: Signature) -> list[Signature]:
    """The signature with the names that TensorFlow Serving gives it, and with those of its tensors.

    TensorFlow Serving cuts ":0" off. If two tensors then have the same name, it returns only one of
    them; here both keep the full name.
    """
    inputs = {spec.tensor: spec for spec in signature.inputs.values()}
    outputs = {spec.tensor: spec for spec in signature.outputs.values()}
    short = replace(signature, inputs=_with_short_names(inputs), outputs=_with_short_names(outputs))
    own = signature.inputs.keys(), signature.outputs.keys()
    renamed = short, replace(signature, inputs=inputs, outputs=outputs)
    return [each for each in renamed if (each.inputs.keys(), each.outputs.keys()) != own]


def _tensor_info(detail: Mapping[str, Any]) -> TensorInfo:
    """TensorFlow Serving's description of a tensor: its sizes are those before any resizing."""
    return TensorInfo(
        name=detail["name"],
        dtype=wire_type(_dtype(detail)).number,
        tensor_shape=shape_proto(tuple(int(size) for size in detail["shape"])),
    )


def _spec(detail: Mapping[str, Any], unranked: frozenset[int]) -> TensorSpec:
    dtype = _dtype(detail)
    wire_type(dtype)  # fails now, not at the first request, on a dtype without a message
    shape = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
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
    model = _read_model(content)
    definitions = [model.SignatureDefs(number) for number in range(model.SignatureDefsLength())]
    graphs = {each.SignatureKey().decode(): each.SubgraphIndex() for each in definitions}
    unranked = {}
    for name, number in {**graphs, **dict.fromkeys(main_graph, 0)}.items():
        graph = model.Subgraphs(number)
        tensors = range(graph.TensorsLength())
        unranked[name] = frozenset(i for i in tensors if not graph.Tensors(i).HasRank())
    return unranked


@dataclass(frozen=True)
class _Sparse:
    """A feature with any number of values; outputs: the tensors for indices, values and shape."""

    key: str
    kind: str
    outputs: tuple[int, int, int]


@dataclass(frozen=True)
class _Dense:
    """A feature with a fixed number of values; default: flat, None if the feature is required."""

    key: str
    kind: str
    shape: tuple[int, ...]
    default: Sequence[Any] | None
    output: int


@dataclass(frozen=True)
class ParseExample:
    """A ParseExample op; serialized: index of the tensor with the serialized tf.Examples."""

    serialized: int
    sparse: Sequence[_Sparse]
    dense: Sequence[_Dense]

    @property
    def outputs(self) -> list[int]:
        """Indices of the tensors that it fills."""
        return [d.output for d in self.dense] + [i for s in self.sparse for i in s.outputs]

    def run(self, serialized: NDArray[Any]) -> dict[int, NDArray[Any]]:
        """The tensors that the op would fill, by index, for tf.Examples as bytes [n].

        Raises StatusError INVALID_ARGUMENT with TensorFlow's messages.
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


@dataclass(frozen=True)
class CutModel:
    """The content of a model without its ParseExample ops.

    Attributes:
        ops: that were in its graphs, by number of the graph; 0 is the main graph.
        graphs: number of the graph, by the signatures that LiteRT knows.
    """

    content: bytes
    ops: Mapping[int, Sequence[ParseExample]] = field(default_factory=dict)
    graphs: Mapping[str, int] = field(default_factory=dict)

    def main_graph_inputs(self) -> dict[str, int]:
        """The inputs that the main graph has instead of its ops."""
        return {_input_name(i): i for op in self.ops.get(0, ()) for i in op.outputs}

    def runner(self, runner: Any, graph: int) -> Any:
        """Make a runner of a graph of this model accept the graph's original inputs."""
        ops = self.ops.get(graph)
        return _ParsingRunner(runner, ops) if ops else runner


class _ParsingRunner:
    """Fills the inputs of a cut model from serialized tf.Examples."""

    def __init__(self, runner: Any, ops: Sequence[ParseExample]) -> None:
        self._runner = runner
        filled = {_input_name(i) for op in ops for i in op.outputs}
        details = runner.get_input_details().items()
        self._inputs = {name: detail for name, detail in details if name not in filled}
        names = {detail["index"]: name for name, detail in self._inputs.items()}
        self._ops = [(names[op.serialized], op) for op in ops]
        self.get_output_details = runner.get_output_details

    def get_input_details(self) -> dict[str, Any]:
        return self._inputs

    def __call__(self, **feeds: NDArray[Any]) -> Arrays:
        filled = {
            _input_name(index): array
            for name, op in self._ops
            for index, array in op.run(feeds[name]).items()
        }
        outputs: Arrays = self._runner(**feeds, **filled)
        return outputs


def cut_parse_example(content: bytes) -> CutModel:
    """Remove the ParseExample ops of a model.

    Raises UnsupportedModelError if an op has ragged features, or an input that the graph computes.
    """
    from ai_edge_litert import schema_py_generated as schema

    root = _read_model(content)
    codes = {
        number: name
        for number in range(root.OperatorCodesLength())
        if (name := root.OperatorCodes(number).CustomCode()) in (_V1, _V2)
    }
    if not codes:
        return CutModel(content)
    model = schema.ModelT.InitFromPackedBuf(content)
    cut: dict[int, list[ParseExample]] = {}
    for number, graph in enumerate(model.subgraphs):
        parsing = [op for op in graph.operators or [] if op.opcodeIndex in codes]
        cut[number] = [_read_op(model, graph, op, codes[op.opcodeIndex]) for op in parsing]
        graph.operators = [op for op in graph.operators or [] if op.opcodeIndex not in codes]
        graph.inputs = [*graph.inputs, *(i for op in cut[number] for i in op.outputs)]
    graphs = {}
    for definition in model.signatureDefs or []:
        graphs[definition.signatureKey.decode()] = definition.subgraphIndex
        for index in (i for op in cut[definition.subgraphIndex] for i in op.outputs):
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = _input_name(index), index
            definition.inputs.append(entry)
    builder = flatbuffers.Builder(len(content) + 1024)
    builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
    return CutModel(bytes(builder.Output()), cut, graphs)


def _read_op(model: Any, graph: Any, op: Any, code: bytes) -> ParseExample:
    inputs, outputs = [int(i) for i in op.inputs], [int(i) for i in op.outputs]
    if inputs[0] not in graph.inputs:
        raise UnsupportedModelError(
            f"{code.decode()} parses tf.Examples that are not an input of the model"
        )

    def constant(index: int) -> list[Any]:
        return _constant(model, graph.tensors[index])

    def kind(index: int) -> str:
        return _KINDS[graph.tensors[index].type]

    if code == _V1:
        # Both counts follow from the number of inputs (2 + sparse + 2 dense) and of outputs
        # (3 sparse + dense).
        count = (2 * len(outputs) - len(inputs) + 2) // 5
        dense_count = len(outputs) - 3 * count
        keys = [key for index in inputs[2 : 2 + count + dense_count] for key in constant(index)]
        sparse_keys, dense_keys = keys[:count], keys[count:]
    else:
        sparse_keys, dense_keys = constant(inputs[2]), constant(inputs[3])
        if constant(inputs[4]):
            raise UnsupportedModelError("ParseExampleV2 with ragged features cannot be run")
    count = len(sparse_keys)
    sparse = []
    for i, key in enumerate(sparse_keys):
        three = (outputs[i], outputs[count + i], outputs[2 * count + i])
        sparse.append(_Sparse(key.decode(), kind(three[1]), three))
    dense = []
    for i, key in enumerate(dense_keys):
        output = outputs[3 * count + i]
        # The first size is the number of examples.
        shape = tuple(int(size) for size in graph.tensors[output].shape[1:])
        default = constant(inputs[len(inputs) - len(dense_keys) + i])
        if len(default) == 1:
            default *= prod(shape)
        dense.append(_Dense(key.decode(), kind(output), shape, default or None, output))
    return ParseExample(inputs[0], sparse, dense)


def _constant(model: Any, tensor: Any) -> list[Any]:
    """The values of a tensor, flat."""
    data = model.buffers[tensor.buffer].data
    if data is None:
        if tensor.shape is not None and 0 in tensor.shape:
            return []
        raise UnsupportedModelError(
            f"the tensor {tensor.name.decode()} of ParseExample is not a constant"
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
        raise invalid(f"Could not parse example input, value: '{text}'") from error


def _values(features: Mapping[str, Any], wanted: _Sparse | _Dense, index: int) -> Any:
    """The values of a feature; None if an example does not have it."""
    feature = features.get(wanted.key)
    kind = feature.WhichOneof("kind") if feature is not None else None
    if kind is None:
        return None
    if kind != wanted.kind:
        raise invalid(
            f"Key: {wanted.key}, Index: {index}.  Data types don't match. "
            f"Data type: {_WORDS[kind]} but expected type: {_WORDS[wanted.kind]}"
        )
    return getattr(feature, kind).value


def _dense_values(features: Mapping[str, Any], wanted: _Dense, index: int) -> Any:
    """The values of a dense feature, flat."""
    values = _values(features, wanted, index)
    if values is None:
        if wanted.default is None:
            raise invalid(
                f"Feature: {wanted.key} (data type: {_WORDS[wanted.kind]}) is required but could "
                "not be found."
            )
        return wanted.default
    if len(values) != prod(wanted.shape):
        raise invalid(
            f"Key: {wanted.key}, Index: {index}.  Number of {_WORDS[wanted.kind]} values != "
            f"expected.  Values size: {len(values)} but output shape: {list(wanted.shape)}"
        )
    return values


def _array(values: Sequence[Any], kind: str) -> NDArray[Any]:
    array = np.empty(len(values), _DTYPES[kind])
    array[:] = values
    return array
