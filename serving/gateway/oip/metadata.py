"""What this server is, and what a model takes and gives."""

from collections.abc import Mapping
from importlib.metadata import version as release
from typing import Any

from flask import jsonify
from flask.typing import ResponseReturnValue

from serving.api.messages.signature_pb2 import TensorInfo
from serving.api.signature import DEFAULT_SIGNATURE
from serving.api.tensors import WIRE_TYPES
from serving.gateway.context import context
from serving.gateway.errors import UnknownNameError
from serving.gateway.oip.paths import version_in_path
from serving.gateway.oip.tensors import datatype
from serving.gateway.state import gateway


def server() -> ResponseReturnValue:
    """The server and the extensions that it knows."""
    return jsonify(
        name="rockstartf", version=release("rockstartf"), extensions=["binary_tensor_data"]
    )


def model(model: str, version: str | None = None) -> ResponseReturnValue:
    """The inputs and outputs of `serving_default`; -1 is any size."""
    current = context()
    current.model = model
    number = version_in_path(version)
    backend = gateway().backend
    metadata = backend.metadata(model, number, timeout=current.time_left())
    states = backend.status(model, timeout=current.time_left())
    signature = metadata.signatures.get(DEFAULT_SIGNATURE)
    if signature is None:
        known = ", ".join(sorted(metadata.signatures))
        raise UnknownNameError("signature", expected=DEFAULT_SIGNATURE, got=f"only {known}")
    return jsonify(
        name=model,
        versions=[str(state.version) for state in states if state.state == "AVAILABLE"],
        platform="tensorflow",
        inputs=_tensors(signature.inputs),
        outputs=_tensors(signature.outputs),
    )


def _tensors(infos: Mapping[str, TensorInfo]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "datatype": datatype(WIRE_TYPES[info.dtype].dtype),
            "shape": [dim.size for dim in info.tensor_shape.dim],
        }
        for name, info in sorted(infos.items())
    ]
