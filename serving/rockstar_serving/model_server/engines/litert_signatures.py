"""The signatures of a LiteRT model: its own, and those that TensorFlow Serving finds in it.

A file holds signatures in one of two places, or in none. The converter of TensorFlow 2 writes
SignatureDefs of the FlatBuffers schema, which LiteRT runs and TensorFlow Serving ignores. Older
tools write TensorFlow's SignatureDef messages into the metadata (`signature_def_util.cc`); they
refer to tensors of the main graph by name. Without metadata TensorFlow Serving makes a
`serving_default` of the main graph, whose inputs and outputs have the names of their tensors
(`tflite_session.cc`).
"""

import struct
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from flatbuffers import flexbuffers
from google.protobuf.message import DecodeError

from tfs_api.messages.signature_pb2 import SignatureDef, TensorInfo
from tfs_api.signature import DEFAULT_SIGNATURE, PREDICT_METHOD, Signature, TensorSpec
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
    """The signatures that TensorFlow Serving finds and LiteRT does not know.

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
            name: _of_message(name, message, inputs, outputs) for name, message in messages.items()
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
    signature = Signature(_specs(inputs, unranked), _specs(outputs, unranked))
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


def _of_message(
    signature: str, message: SignatureDef, inputs: Mapping[str, int], outputs: Mapping[str, int]
) -> MainGraphSignature:
    return MainGraphSignature(
        _resolve(signature, message.inputs, inputs),
        _resolve(signature, message.outputs, outputs),
        message,
    )


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
    """What TensorFlow Serving tells of a tensor: the sizes that it has before it is resized."""
    return TensorInfo(
        name=detail["name"],
        dtype=wire_type(_dtype(detail)).number,
        tensor_shape=shape_proto(tuple(int(size) for size in detail["shape"])),
    )


def _specs(details: Details, unranked: frozenset[int]) -> dict[str, TensorSpec]:
    return {name: _spec(detail, unranked) for name, detail in details.items()}


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
    """Tensors of any rank, by signature; the interpreter tells the same of them as of scalars."""
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
