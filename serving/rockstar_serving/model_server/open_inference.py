"""inference.GRPCInferenceService: the Open Inference Protocol (KServe's v2) over gRPC.

Source: KServe's open_inference_grpc.proto and its document. Behavior that these do not define is
that of KServe's and Triton's servers. Triton's extensions ModelConfig and RepositoryIndex are
supported.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_contract.errors import InvalidInputError
from rockstar_serving import installed_version
from rockstar_serving.model_server.core import Core, PredictQuery
from rockstar_serving.model_server.deadline import Deadline
from rockstar_serving.model_server.engines.engine import Arrays, SignatureNotFoundError
from rockstar_serving.model_server.models.servables import State
from tfs_api.messages import open_inference_pb2 as pb
from tfs_api.model_ref import ModelRef, whole_number
from tfs_api.open_inference import (
    PLATFORM,
    check_parameters,
    check_shape,
    datatype,
    declared_shape,
    dtype_of,
    from_bytes,
    shaped,
    to_bytes,
)
from tfs_api.signature import DEFAULT_SIGNATURE, Signature, TensorSpec
from tfs_api.status import Code, StatusError, invalid

_SIGNATURE = "signature_name"
_BINARY_OUTPUT = "binary_data_output"

# The field of InferTensorContents that holds the values of a datatype.
_FIELDS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
# Triton's names of the states that a version goes through.
_STATES = {
    State.START: "LOADING",
    State.LOADING: "LOADING",
    State.AVAILABLE: "READY",
    State.UNLOADING: "UNLOADING",
    State.END: "UNAVAILABLE",
}


class OpenInference:
    """The calls of the service; tensors are those of a signature, as in Predict."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def server_live(self, _: pb.ServerLiveRequest, __: Deadline) -> pb.ServerLiveResponse:
        """The server is live, since it responds."""
        return pb.ServerLiveResponse(live=True)

    def server_ready(self, _: pb.ServerReadyRequest, __: Deadline) -> pb.ServerReadyResponse:
        """The server is ready: it listens once models are loaded, and rejects calls at its stop."""
        return pb.ServerReadyResponse(ready=True)

    def model_ready(self, request: pb.ModelReadyRequest, _: Deadline) -> pb.ModelReadyResponse:
        """Whether a model, or a version of it, is available; False for unknown ones."""
        try:
            statuses = self._core.status(_model_ref(request.name, request.version))
        except StatusError as error:
            if error.code != Code.NOT_FOUND:
                raise
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=any(s.state == State.AVAILABLE for s in statuses))

    def server_metadata(
        self, _: pb.ServerMetadataRequest, __: Deadline
    ) -> pb.ServerMetadataResponse:
        """The server and its extensions."""
        return pb.ServerMetadataResponse(
            name="rockstartf",
            version=installed_version(),
            extensions=["model_configuration", "parameters"],
        )

    def model_metadata(
        self, request: pb.ModelMetadataRequest, _: Deadline
    ) -> pb.ModelMetadataResponse:
        """The inputs and outputs of `serving_default`."""
        signature = self._default_signature(request.name, request.version)
        response = pb.ModelMetadataResponse(name=request.name, platform=PLATFORM)
        for status in self._core.status(ModelRef(request.name)):
            if status.state == State.AVAILABLE:
                response.versions.append(str(status.version))
        for name, spec in sorted(signature.inputs.items()):
            response.inputs.add(name=name, datatype=_datatype(spec), shape=declared_shape(spec))
        for name, spec in sorted(signature.outputs.items()):
            response.outputs.add(name=name, datatype=_datatype(spec), shape=declared_shape(spec))
        return response

    def model_config(self, request: pb.ModelConfigRequest, _: Deadline) -> pb.ModelConfigResponse:
        """`serving_default` as a configuration of Triton; dims include the batch."""
        signature = self._default_signature(request.name, request.version)
        response = pb.ModelConfigResponse()
        config = response.config
        config.name, config.platform, config.backend = request.name, PLATFORM, "tensorflow"
        for name, spec in sorted(signature.inputs.items()):
            config.input.add(name=name, data_type=_config_type(spec), dims=declared_shape(spec))
        for name, spec in sorted(signature.outputs.items()):
            config.output.add(name=name, data_type=_config_type(spec), dims=declared_shape(spec))
        return response

    def repository_index(
        self, request: pb.RepositoryIndexRequest, _: Deadline
    ) -> pb.RepositoryIndexResponse:
        """The versions of all models, and why those that are not ready are not."""
        response = pb.RepositoryIndexResponse()
        for name in self._core.models():
            try:
                statuses = self._core.status(ModelRef(name))
            except StatusError as error:
                if not request.ready:
                    response.models.add(name=name, state="UNAVAILABLE", reason=error.message)
                continue
            for status in statuses:
                if status.state == State.AVAILABLE or not request.ready:
                    response.models.add(
                        name=name,
                        version=str(status.version),
                        state=_STATES[status.state],
                        reason=status.message,
                    )
        return response

    def model_infer(
        self, request: pb.ModelInferRequest, deadline: Deadline
    ) -> pb.ModelInferResponse:
        """Run `serving_default`, or the signature that the parameter `signature_name` names."""
        name = DEFAULT_SIGNATURE
        try:
            if _SIGNATURE in request.parameters:
                value = request.parameters[_SIGNATURE]
                kind = value.WhichOneof("parameter_choice") or "no value"
                if kind != "string_param":
                    field = f"parameters.{_SIGNATURE}"
                    raise InvalidInputError(field, expected="string_param", got=kind)
                name = value.string_param
            for index, output in enumerate(request.outputs):
                if output.parameters:
                    check_parameters(list(output.parameters), f"outputs[{index}]")
            fetches = [output.name for output in request.outputs]
            query = PredictQuery(lambda _: _feeds(request), name, fetches, deadline)
            ref = _model_ref(request.model_name, request.model_version)
            version, prediction = self._core.predict(ref, query)
            return _response(request, version, prediction.outputs)
        except InvalidInputError as error:
            raise invalid(str(error)) from error

    def _default_signature(self, name: str, version: str) -> Signature:
        _, signatures = self._core.metadata(_model_ref(name, version))
        if DEFAULT_SIGNATURE not in signatures:
            raise SignatureNotFoundError(DEFAULT_SIGNATURE)
        return signatures[DEFAULT_SIGNATURE]


def _model_ref(name: str, version: str) -> ModelRef:
    """A model; the version is a number or a label, or "" for the newest."""
    if not name:
        raise invalid("expected the name of a model, got none")
    if not version:
        return ModelRef(name)
    if (number := whole_number(version)) is not None:
        return ModelRef(name, version=number)
    return ModelRef(name, label=version)


def _feeds(request: pb.ModelInferRequest) -> dict[str, NDArray[Any]]:
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidInputError(
            "raw_input_contents",
            expected=f"none, or one for each of the {len(request.inputs)} inputs",
            got=str(len(raw)),
        )
    feeds: dict[str, NDArray[Any]] = {}
    for index, tensor in enumerate(request.inputs):
        field = f"inputs[{index}]"
        if tensor.name in feeds:
            raise InvalidInputError(
                f"{field}.name", expected="each input once", got=f"{tensor.name!r} again"
            )
        if tensor.parameters:
            check_parameters(list(tensor.parameters), field)
        if not raw:
            feeds[tensor.name] = _from_contents(tensor, field)
            continue
        # MLServer's client sends an empty message with raw contents.
        if tensor.contents.ByteSize():
            raise InvalidInputError(
                f"{field}.contents", expected="none beside raw_input_contents", got="contents"
            )
        feeds[tensor.name] = from_bytes(
            raw[index], tensor.datatype, tensor.shape, field, f"raw_input_contents[{index}]"
        )
    return feeds


def _from_contents(tensor: pb.ModelInferRequest.InferInputTensor, field: str) -> NDArray[Any]:
    dtype = dtype_of(tensor.datatype, field)
    check_shape(tensor.shape, field)
    name, field = _FIELDS.get(tensor.datatype), f"{field}.contents"
    if name is None:
        raise InvalidInputError(
            field, expected=f"{tensor.datatype} in raw_input_contents", got="contents"
        )
    for other, _ in tensor.contents.ListFields():
        if other.name != name:
            raise InvalidInputError(
                field, expected=f"{tensor.datatype} in {name}", got=f"values in {other.name}"
            )
    field, values = f"{field}.{name}", getattr(tensor.contents, name)
    if dtype.kind == "O":
        return shaped(np.array(list(values), object), tensor.shape, field)
    if dtype.kind in "iu" and dtype.itemsize < 4:
        wide = np.fromiter(values, np.dtype(f"{dtype.kind}4"), len(values))
        limits = np.iinfo(dtype)
        outside = wide[(wide < limits.min) | (wide > limits.max)]
        if outside.size:
            raise InvalidInputError(
                field,
                expected=f"{tensor.datatype} from {limits.min} to {limits.max}",
                got=str(outside[0]),
            )
        return shaped(wide.astype(dtype), tensor.shape, field)
    return shaped(np.fromiter(values, dtype, len(values)), tensor.shape, field)


def _response(
    request: pb.ModelInferRequest, version: int, outputs: Arrays
) -> pb.ModelInferResponse:
    response = pb.ModelInferResponse(
        model_name=request.model_name, model_version=str(version), id=request.id
    )
    # Like KServe's server: in the form of the inputs, unless a parameter sets it.
    raw = bool(request.raw_input_contents)
    if _BINARY_OUTPUT in request.parameters:
        raw = request.parameters[_BINARY_OUTPUT].bool_param
    raw = raw or any(datatype(array.dtype) not in _FIELDS for array in outputs.values())
    for name in [output.name for output in request.outputs] or outputs:
        array = outputs[name]
        kind = datatype(array.dtype)
        tensor = response.outputs.add(name=name, datatype=kind, shape=array.shape)
        if raw:
            response.raw_output_contents.append(to_bytes(array))
        else:
            getattr(tensor.contents, _FIELDS[kind]).extend(array.ravel().tolist())
    return response


def _datatype(spec: TensorSpec) -> str:
    try:
        return datatype(spec.dtype)
    except InvalidInputError as error:
        raise StatusError(Code.UNIMPLEMENTED, str(error)) from error


def _config_type(spec: TensorSpec) -> str:
    name = _datatype(spec)
    return "TYPE_STRING" if name == "BYTES" else f"TYPE_{name}"
