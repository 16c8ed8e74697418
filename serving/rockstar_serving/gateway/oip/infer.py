"""`POST /v2/models/<model>[/versions/<version>]/infer`: tensors in, tensors out."""

from codecs import BOM_UTF8
from typing import Any

import msgspec
from flask import Response, request
from numpy.typing import NDArray

from rockstar_client.backend import TensorResponse
from rockstar_contract.errors import InvalidInputError
from rockstar_serving.gateway.body import whole_body
from rockstar_serving.gateway.context import context
from rockstar_serving.gateway.oip import tensors
from rockstar_serving.gateway.oip.messages import (
    InferRequest,
    InferResponse,
    InputTensor,
    OutputTensor,
    WantedOutput,
)
from rockstar_serving.gateway.oip.paths import version_in_path
from rockstar_serving.gateway.state import gateway
from tfs_api import open_inference
from tfs_api.signature import DEFAULT_SIGNATURE

# Says how many bytes of the body are JSON; the tensors' bytes follow.
HEADER_LENGTH = "Inference-Header-Content-Length"
# Made once: msgspec reads a class at its first use, which crashes when threads do so together.
_REQUEST = msgspec.json.Decoder(InferRequest)


def infer(model: str, version: str | None = None) -> Response:
    """Run `serving_default`, or the signature that `parameters.signature_name` names."""
    current = context()
    current.model = model
    number = version_in_path(version)
    with current.phase("preprocess"):
        document, binary = _split(whole_body())
        asked = _parse(document)
        inputs = _Inputs(binary).read(asked.inputs)
        for index, output in enumerate(asked.outputs or ()):
            open_inference.check_parameters(list(output.parameters or ()), f"outputs[{index}]")
        current.instances = max((len(a) for a in inputs.values() if a.ndim), default=1)
    answer = gateway().backend.predict(
        model,
        inputs,
        version=number,
        signature=_signature(asked),
        outputs=[output.name for output in asked.outputs or ()],
        timeout=current.time_left(),
    )
    current.version = answer.version
    with current.phase("postprocess"):
        return _response(model, asked, answer)


def _split(body: bytes) -> tuple[bytes, bytes]:
    """The JSON of a body, and the bytes behind it."""
    text = request.headers.get(HEADER_LENGTH)
    if text is None:
        return body, b""
    # int() itself would fail on thousands of digits.
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= len(body)):
        raise InvalidInputError(
            HEADER_LENGTH, expected=f"at most the {len(body)} bytes of the body", got=text[:40]
        )
    return body[: int(text)], body[int(text) :]


def _parse(document: bytes) -> InferRequest:
    try:
        asked = _REQUEST.decode(document.removeprefix(BOM_UTF8))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(
            "body",
            expected='{"inputs": [{"name", "shape", "datatype", "data"}, …]}',
            got=f"something else ({error})",
        ) from error
    if not asked.inputs:
        raise InvalidInputError("inputs", expected="one or more tensors", got="none")
    return asked


def _signature(asked: InferRequest) -> str:
    name = asked.parameter("signature_name")
    if name is None:
        return DEFAULT_SIGNATURE
    if not isinstance(name, str):
        raise InvalidInputError("parameters.signature_name", expected="text", got=repr(name)[:40])
    return name


class _Inputs:
    """Reads inputs, the bytes of some of them one after the other."""

    def __init__(self, binary: bytes) -> None:
        self._binary = binary
        self._used = 0

    def read(self, inputs: list[InputTensor]) -> dict[str, NDArray[Any]]:
        """All inputs by name.

        Raises:
            InvalidInputError: one cannot be read, is named twice, or bytes are left over.
        """
        arrays = {}
        for index, tensor in enumerate(inputs):
            field = f"inputs[{index}]"
            if tensor.name in arrays:
                raise InvalidInputError(
                    f"{field}.name", expected="another name", got=repr(tensor.name)[:40]
                )
            arrays[tensor.name] = self._one(tensor, field)
        if self._used != len(self._binary):
            raise InvalidInputError(
                "body",
                expected=f"{self._used} bytes behind the JSON, as the inputs say",
                got=str(len(self._binary)),
            )
        return arrays

    def _one(self, tensor: InputTensor, field: str) -> NDArray[Any]:
        open_inference.check_parameters(list(tensor.parameters or ()), field)
        size = (tensor.parameters or {}).get("binary_data_size")
        if size is None:
            if tensor.data is None:
                raise InvalidInputError(
                    f"{field}.data", expected="values, or parameters.binary_data_size", got="none"
                )
            return tensors.from_json(tensor.data, tensor.datatype, tensor.shape, field)
        left = len(self._binary) - self._used
        if not isinstance(size, int) or not 0 <= size <= left:
            raise InvalidInputError(
                f"{field}.parameters.binary_data_size",
                expected=f"at most the {left} bytes that follow",
                got=repr(size)[:40],
            )
        data = self._binary[self._used : self._used + size]
        self._used += size
        return open_inference.from_bytes(
            data, tensor.datatype, tensor.shape, field, f"{field}.parameters.binary_data_size"
        )


def _response(model: str, asked: InferRequest, answer: TensorResponse) -> Response:
    by_default = asked.parameter("binary_data_output") is True
    wanted = asked.outputs or [WantedOutput(name) for name in answer.outputs]
    outputs, binary = [], []
    for output in wanted:
        array = answer.outputs[output.name]
        described = OutputTensor(
            output.name, open_inference.datatype(array.dtype), [int(size) for size in array.shape]
        )
        binary_data = (output.parameters or {}).get("binary_data")
        if by_default if binary_data is None else binary_data is True:
            binary.append(open_inference.to_bytes(array))
            described.parameters = {"binary_data_size": len(binary[-1])}
        else:
            described.data = tensors.to_json(array, f"output {output.name}")
        outputs.append(described)
    document = msgspec.json.encode(
        InferResponse(model, str(answer.version), outputs, asked.id or "")
    )
    if not binary:
        return Response(document, mimetype="application/json")
    response = Response(b"".join([document, *binary]), mimetype="application/octet-stream")
    response.headers[HEADER_LENGTH] = str(len(document))
    return response
