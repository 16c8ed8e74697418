"""Signatures: the inputs and outputs of a model, in plain Python and as SignatureDef messages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfs_api.messages import prediction_pb2, signature_pb2
from tfs_api.tensors import WIRE_TYPES, shape_proto, to_array, wire_type

DEFAULT_SIGNATURE = "serving_default"
PREDICT_METHOD = "tensorflow/serving/predict"
CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        tensor: name of the tensor in the model's graph.
        dtype: object for strings.
        shape: sizes with -1 for any size, or None if even the rank is unknown. Only declared: the
            model may accept other shapes.
    """

    tensor: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...] | None

    def __str__(self) -> str:
        return f"{dtype_name(self.dtype)} of shape {shape_text(self.shape)}"


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of one function of a model, by name.

    Attributes:
        method_name: of the API that it is for.
        defaults: values of optional inputs, by name.
        message: the message that it was read from, if any.
        other_names: the same signature with other names of inputs and outputs that a request may
            use; a tensor has the same TensorSpec in each.
    """

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    method_name: str = PREDICT_METHOD
    defaults: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    message: signature_pb2.SignatureDef | None = None
    other_names: Sequence["Signature"] = ()


def signature_of(message: signature_pb2.SignatureDef) -> Signature:
    """Read a signature from its message.

    Sparse and ragged tensors, which are several tensors in the graph, have the name ""; tensors
    without values, such as resources, are left out.

    Raises:
        ValueError: a default value cannot be read.
    """
    return Signature(
        inputs=_specs(message.inputs),
        outputs=_specs(message.outputs),
        method_name=message.method_name,
        defaults={name: to_array(value) for name, value in message.defaults.items()},
        message=message,
    )


def signature_def(signature: Signature) -> signature_pb2.SignatureDef:
    """The message of a signature."""
    if signature.message is not None:
        return signature.message
    return signature_pb2.SignatureDef(
        inputs={name: _tensor_info(spec) for name, spec in signature.inputs.items()},
        outputs={name: _tensor_info(spec) for name, spec in signature.outputs.items()},
        method_name=signature.method_name,
    )


def signature_def_map(signatures: Mapping[str, Signature]) -> prediction_pb2.SignatureDefMap:
    """The message of all signatures of a model, for GetModelMetadata."""
    return prediction_pb2.SignatureDefMap(
        signature_def={name: signature_def(each) for name, each in signatures.items()}
    )


def dtype_name(dtype: np.dtype[Any]) -> str:
    """The name of a dtype in messages: NumPy's name, or "string" for bytes and text."""
    return "string" if dtype.kind in "OSU" else dtype.name


def tensorflow_name(dtype: np.dtype[Any]) -> str:
    """TensorFlow's name of a dtype, for example "float" or "string"."""
    name = dtype_name(dtype)
    return {"float16": "half", "float32": "float", "float64": "double"}.get(name, name)


def shape_text(shape: tuple[int, ...] | None) -> str:
    """A shape for messages, with ? for any size."""
    if shape is None:
        return "?"
    return "[" + ", ".join("?" if size < 0 else str(size) for size in shape) + "]"


def _specs(infos: Mapping[str, signature_pb2.TensorInfo]) -> dict[str, TensorSpec]:
    specs = {}
    for name in sorted(infos):  # messages are not ordered; TensorFlow Serving sorts by name
        info = infos[name]
        # A variable of TensorFlow 1 has a dtype of its own, 100 above that of its values.
        if wire := WIRE_TYPES.get(info.dtype % 100):
            ranked = info.HasField("tensor_shape") and not info.tensor_shape.unknown_rank
            shape = tuple(dim.size for dim in info.tensor_shape.dim) if ranked else None
            specs[name] = TensorSpec(info.name, wire.dtype, shape)
    return specs


def _tensor_info(spec: TensorSpec) -> signature_pb2.TensorInfo:
    info = signature_pb2.TensorInfo(name=spec.tensor, dtype=wire_type(spec.dtype).number)
    if spec.shape is None:
        info.tensor_shape.unknown_rank = True
    else:
        info.tensor_shape.CopyFrom(shape_proto(spec.shape))
    return info
