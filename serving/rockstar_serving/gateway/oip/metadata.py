"""What this server is, and what a model takes and gives."""

from collections.abc import Mapping
from importlib.metadata import version as release
from typing import Any

from flask import jsonify
from flask.typing import ResponseReturnValue

from rockstar_serving.gateway.context import context
from rockstar_serving.gateway.errors import UnknownNameError
from rockstar_serving.gateway.oip.paths import version_in_path
from rockstar_serving.gateway.state import gateway
from tfs_api.open_inference import PLATFORM, datatype, declared_shape
from tfs_api.signature import DEFAULT_SIGNATURE, TensorSpec, signature_of


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
    message = metadata.signatures.get(DEFAULT_SIGNATURE)
    if message is None:
        known = ", ".join(sorted(metadata.signatures))
        raise UnknownNameError("signature", expected=DEFAULT_SIGNATURE, got=f"only {known}")
    signature = signature_of(message)
    return jsonify(
        name=model,
        versions=[str(state.version) for state in states if state.state == "AVAILABLE"],
        platform=PLATFORM,
        inputs=_tensors(signature.inputs),
        outputs=_tensors(signature.outputs),
    )


def _tensors(specs: Mapping[str, TensorSpec]) -> list[dict[str, Any]]:
    return [
        {"name": name, "datatype": datatype(spec.dtype), "shape": declared_shape(spec)}
        for name, spec in sorted(specs.items())
    ]
