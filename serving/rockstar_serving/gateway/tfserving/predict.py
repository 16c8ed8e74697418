"""Predict: how JSON is to be read is for a signature to say, and that is upstream."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_client.backend import TensorResponse
from rockstar_client.errors import CallError, InvalidRequestError
from rockstar_serving.gateway.context import context
from rockstar_serving.gateway.state import gateway
from rockstar_serving.gateway.tfserving.signatures import Known, signatures
from tfs_api import json_tensors
from tfs_api.json_tensors import JsonRequest
from tfs_api.model_ref import ModelRef
from tfs_api.signature import DEFAULT_SIGNATURE
from tfs_api.status import StatusError

Outputs = Mapping[str, NDArray[Any]]


def predict(ref: ModelRef, asked: JsonRequest) -> Outputs:
    """Ask a model; the outputs by name.

    Raises:
        StatusError: the request does not fit the signature; or of the model server.
    """
    remembered = signatures().remembered(ref)
    if remembered is None:
        return _ask(ref, asked, signatures().read(ref))
    try:
        return _ask(ref, asked, remembered)
    except StatusError as error:
        if isinstance(error, CallError) and not isinstance(error, InvalidRequestError):
            raise
        # It may fit what the model takes by now.
        known = signatures().read(ref)
        if _takes(known, asked) == _takes(remembered, asked):
            raise
    return _ask(ref, asked, known)


def _ask(ref: ModelRef, asked: JsonRequest, known: Known) -> Outputs:
    response = _send(ref, asked, known)
    if response.version == known.version:
        return response.outputs
    other = signatures().of_version(ref, response.version)
    if _takes(other, asked) == _takes(known, asked):
        return response.outputs
    # It took what was read for another version, but might have read the JSON otherwise.
    return _send(ModelRef(ref.name, other.version), asked, other).outputs


def _send(ref: ModelRef, asked: JsonRequest, known: Known) -> TensorResponse:
    current, name = context(), _signature_name(asked)
    if name not in known.signatures:
        raise json_tensors.signature_not_found(name)
    with current.phase("preprocess"):
        feeds = json_tensors.feeds(asked, known.signatures[name])
    current.instances = max((len(array) for array in feeds.values() if np.ndim(array)), default=1)
    return gateway().backend.predict(
        ref.name,
        feeds,
        version=ref.version,
        label=ref.label,
        signature=name,
        timeout=current.time_left(),
    )


def _takes(known: Known, asked: JsonRequest) -> Mapping[str, np.dtype[Any]] | None:
    """All of a signature that reading JSON depends on."""
    signature = known.signatures.get(_signature_name(asked))
    if signature is None:
        return None
    return {name: spec.dtype for name, spec in signature.inputs.items()}


def _signature_name(asked: JsonRequest) -> str:
    return asked.signature_name or DEFAULT_SIGNATURE
