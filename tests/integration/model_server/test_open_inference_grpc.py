"""The Open Inference Protocol over gRPC: valid and invalid requests."""

import struct
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import ml_dtypes
import numpy as np
import pytest

from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from rockstar_serving.model_server.engines.engine import LoadError, ServableId
from rockstar_serving.model_server.models.config import All, ModelConfig
from rockstar_serving.model_server.options import LoadOptions, MonitoringOptions, ServerOptions
from rockstar_serving.model_server.server import ModelServer
from tests.fake_engine import add_version
from tests.grpc_calls import failure, stub
from tests.metrics import SERVING, totals
from tfs_api import services
from tfs_api.messages import open_inference_pb2 as pb
from tfs_api.open_inference import DATATYPES, from_bytes, to_bytes
from tfs_api.signature import Signature, TensorSpec
from tfs_api.status import Code, StatusError

INVALID = "INVALID_ARGUMENT"


def signature(dtype: Any, *shape: int, unranked: bool = False) -> Signature:
    spec = TensorSpec("t:0", np.dtype(dtype), None if unranked else shape)
    return Signature(inputs={"x": spec}, outputs={"y": spec})


class Echo:
    """An engine that returns its input, with a signature for each datatype, named after it."""

    name = "echo"
    signatures: Mapping[str, Signature] = {
        "serving_default": signature(np.float32, -1, 2),
        "two": Signature(
            inputs={name: TensorSpec(name, np.dtype(np.int32), (-1,)) for name in "ab"},
            outputs={name: TensorSpec(name, np.dtype(np.int32), (-1,)) for name in "ab"},
        ),
        "scalar": signature(np.float32),
        **{name: signature(dtype, -1) for name, dtype in DATATYPES.items()},
    }

    def run(
        self,
        signature: str,
        feeds: Mapping[str, Any],
        fetches: Sequence[str],
        _: Deadline = NO_DEADLINE,
    ) -> dict[str, Any]:
        for name, feed in feeds.items():
            spec = self.signatures[signature].inputs[name]
            if feed.dtype != spec.dtype:
                raise StatusError(
                    Code.INVALID_ARGUMENT, f"{name}: expected {spec}, got {feed.dtype}"
                )
        return {name: feeds.get(name, feeds.get("x")) for name in fetches}

    def close(self) -> None:
        pass


def load(servable_id: ServableId, _: Path) -> Echo:
    if servable_id.version == 3:
        raise LoadError("version 3 is broken")
    return Echo()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    base_path = tmp_path_factory.mktemp("models") / "m"
    for version in (1, 2, 3):
        add_version(base_path, version)
    options = ServerOptions(
        models=(ModelConfig("m", base_path, All(), {"stable": 1}),),
        load=LoadOptions(allow_labels_for_unavailable=True),
        monitoring=MonitoringOptions("/metrics"),
    )
    with ModelServer(options, load=load) as server:
        yield server


@pytest.fixture(scope="module")
def channel(server: ModelServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(str(server.grpc_address)) as channel:
        yield channel


def call(channel: grpc.Channel, method: services.Method[Any, Any], **fields: Any) -> Any:
    return stub(channel, method)(method.request(**fields), timeout=30)


def infer(channel: grpc.Channel, *inputs: dict[str, Any], **fields: Any) -> Any:
    request: dict[str, Any] = {"model_name": "m", "inputs": inputs} | fields
    if name := request.pop("signature", None):
        request["parameters"] = {"signature_name": {"string_param": name}}
    return call(channel, services.MODEL_INFER, **request)


def refusal(channel: grpc.Channel, *inputs: dict[str, Any], **fields: Any) -> tuple[str, str]:
    return failure(lambda timeout: infer(channel, *inputs, **fields))


X = {"name": "x", "datatype": "FP32", "shape": [1, 2], "contents": {"fp32_contents": [1, 2]}}
RAW = {key: value for key, value in X.items() if key != "contents"}
BYTES = np.array([1, 2], "<f4").tobytes()


def test_server(channel: grpc.Channel) -> None:
    assert call(channel, services.SERVER_LIVE).live
    assert call(channel, services.SERVER_READY).ready
    metadata = call(channel, services.SERVER_METADATA)
    assert metadata.name == "rockstartf"
    assert "model_configuration" in metadata.extensions


@pytest.mark.parametrize(
    ("name", "version", "ready"),
    [
        ("m", "", True),
        ("m", "1", True),
        ("m", "stable", True),
        ("m", "3", False),
        ("m", "9", False),
        ("nobody", "", False),
    ],
)
def test_which_models_are_ready(
    channel: grpc.Channel, name: str, version: str, ready: bool
) -> None:
    assert call(channel, services.MODEL_READY, name=name, version=version).ready is ready


def test_metadata(channel: grpc.Channel) -> None:
    answer = call(channel, services.MODEL_METADATA, name="m")
    tensor = {"datatype": "FP32", "shape": [-1, 2]}
    assert answer == pb.ModelMetadataResponse(
        name="m",
        versions=["2", "1"],
        platform="tensorflow_savedmodel",
        inputs=[{"name": "x", **tensor}],
        outputs=[{"name": "y", **tensor}],
    )


def test_config(channel: grpc.Channel) -> None:
    config = call(channel, services.MODEL_CONFIG, name="m", version="1").config
    assert (config.name, config.max_batch_size) == ("m", 0)
    assert [(t.name, t.data_type, list(t.dims)) for t in config.input] == [
        ("x", pb.ModelConfigResponse.TYPE_FP32, [-1, 2])
    ]
    assert [(t.name, list(t.dims)) for t in config.output] == [("y", [-1, 2])]


def test_the_index_has_the_reason_why_a_version_is_not_ready(channel: grpc.Channel) -> None:
    models = call(channel, services.REPOSITORY_INDEX).models
    assert [(m.name, m.version, m.state, m.reason) for m in models] == [
        ("m", "3", "UNAVAILABLE", "version 3 is broken"),
        ("m", "2", "READY", ""),
        ("m", "1", "READY", ""),
    ]
    ready = call(channel, services.REPOSITORY_INDEX, ready=True).models
    assert [m.version for m in ready] == ["2", "1"]


@pytest.mark.parametrize(("version", "answered"), [("", "2"), ("1", "1"), ("stable", "1")])
def test_the_response_names_request_and_version(
    channel: grpc.Channel, version: str, answered: str
) -> None:
    answer = infer(channel, X, model_version=version, id="seven")
    assert (answer.model_name, answer.model_version, answer.id) == ("m", answered, "seven")
    assert not answer.raw_output_contents
    (output,) = answer.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("y", "FP32", [1, 2])
    assert list(output.contents.fp32_contents) == [1, 2]


VALUES: dict[str, Any] = {
    "BOOL": [True, False],
    "FP16": [0.5, -2],
    "BF16": [0.5, -2],
    "FP32": [np.inf, -0.1],
    "FP64": [1e300, np.nan],
    "BYTES": [b"", b"\xff\x00 text"],
} | {
    name: [np.iinfo(dtype).min, np.iinfo(dtype).max]
    for name, dtype in DATATYPES.items()
    if dtype.kind in "iu"
}
CONTENTS = {
    "BOOL": "bool_contents",
    "BYTES": "bytes_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
} | {
    f"{kind}{bits}": f"{kind.lower()}_contents" for kind in ("INT", "UINT") for bits in (8, 16, 32)
}


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_as_bytes(channel: grpc.Channel, datatype: str) -> None:
    values = np.array(VALUES[datatype], DATATYPES[datatype])
    answer = infer(
        channel,
        {"name": "x", "datatype": datatype, "shape": [2]},
        raw_input_contents=[to_bytes(values)],
        signature=datatype,
    )
    (raw,), (output,) = answer.raw_output_contents, answer.outputs
    assert (output.datatype, list(output.shape)) == (datatype, [2])
    assert not output.HasField("contents")
    np.testing.assert_array_equal(from_bytes(raw, datatype, [2], "", ""), values)


@pytest.mark.parametrize("datatype", CONTENTS)
def test_every_datatype_in_its_field(channel: grpc.Channel, datatype: str) -> None:
    contents = pb.InferTensorContents(**{CONTENTS[datatype]: VALUES[datatype]})
    answer = infer(
        channel,
        {"name": "x", "datatype": datatype, "shape": [2], "contents": contents},
        signature=datatype,
    )
    np.testing.assert_array_equal(
        getattr(answer.outputs[0].contents, CONTENTS[datatype]),
        getattr(contents, CONTENTS[datatype]),
    )


def test_bytes_on_the_wire(channel: grpc.Channel) -> None:
    """Encode contents as the protocol's documents describe, without our code."""
    two = np.array([0.5, -2], ml_dtypes.bfloat16).view("<u2").tobytes()
    tensor = {"name": "x", "datatype": "BF16", "shape": [2]}
    answer = infer(channel, tensor, raw_input_contents=[two], signature="BF16")
    assert list(answer.raw_output_contents) == [two]
    texts = struct.pack("<I2sI", 2, b"ab", 0)
    tensor = {"name": "x", "datatype": "BYTES", "shape": [2]}
    answer = infer(channel, tensor, raw_input_contents=[texts], signature="BYTES")
    assert list(answer.raw_output_contents) == [texts]
    answer = infer(
        channel,
        {"name": "x", "datatype": "BOOL", "shape": [2]},
        raw_input_contents=[b"\x02\x00"],
        signature="BOOL",
    )
    assert list(answer.raw_output_contents) == [b"\x01\x00"]


@pytest.mark.parametrize("binary", [True, False])
def test_a_parameter_chooses_how_outputs_come(channel: grpc.Channel, binary: bool) -> None:
    parameters = {"binary_data_output": {"bool_param": binary}}
    for answer in (
        infer(channel, X, parameters=parameters),
        infer(channel, RAW, raw_input_contents=[BYTES], parameters=parameters),
    ):
        assert list(answer.raw_output_contents) == ([BYTES] if binary else [])
        assert list(answer.outputs[0].contents.fp32_contents) == ([] if binary else [1, 2])


def test_unusual_valid_requests(channel: grpc.Channel) -> None:
    # MLServer's client also sends an empty message.
    empty = RAW | {"contents": {}}
    assert list(infer(channel, empty, raw_input_contents=[BYTES]).raw_output_contents) == [BYTES]
    # An empty batch needs no contents, and Triton's scheduling parameters are ignored.
    none = {"name": "x", "datatype": "FP32", "shape": [0, 2]}
    (output,) = infer(channel, none, parameters={"priority": {"uint64_param": 1}}).outputs
    assert list(output.shape) == [0, 2]
    assert infer(channel, none, raw_input_contents=[b""]).raw_output_contents == [b""]
    scalar = {"name": "x", "datatype": "FP32", "contents": {"fp32_contents": [3]}}
    (output,) = infer(channel, scalar, signature="scalar").outputs
    assert (list(output.shape), list(output.contents.fp32_contents)) == ([], [3])


def test_outputs_come_in_the_order_of_the_request(channel: grpc.Channel) -> None:
    inputs = [
        {"name": name, "datatype": "INT32", "shape": [1], "contents": {"int_contents": [value]}}
        for name, value in (("b", 2), ("a", 1))
    ]
    wanted = [{"name": "b"}, {"name": "a"}]
    answer = infer(channel, *inputs, outputs=wanted, signature="two")
    assert [(o.name, o.contents.int_contents[0]) for o in answer.outputs] == [("b", 2), ("a", 1)]
    answer = infer(channel, *inputs, outputs=wanted[:1], signature="two")
    assert [o.name for o in answer.outputs] == ["b"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"shape": [1, 3]}, "inputs[0].contents.fp32_contents: expected 3 values for shape [1, 3]"),
        ({"shape": [-1, 2]}, "inputs[0].shape: expected up to 32 sizes from 0"),
        ({"shape": [2**40, 2**40]}, "inputs[0].shape"),
        ({"shape": [1] * 40}, "inputs[0].shape"),
        ({"datatype": "FLOAT"}, "inputs[0].datatype: expected one of BOOL, UINT8"),
        ({"datatype": "FP64"}, "inputs[0].contents: expected FP64 in fp64_contents"),
        ({"datatype": "FP16"}, "inputs[0].contents: expected FP16 in raw_input_contents"),
        ({"contents": {}}, "expected 2 values for shape [1, 2], got 0"),
        (
            {"contents": {"fp32_contents": [1, 2], "int_contents": [1]}},
            "got values in int_contents",
        ),
        ({"name": "z"}, "z"),
        ({"datatype": "INT32", "contents": {"int_contents": [1, 2]}}, "int32"),
        (
            {"parameters": {"shared_memory_region": {"string_param": "r"}}},
            "inputs[0].parameters: shared_memory_region is not supported",
        ),
    ],
)
def test_bad_inputs(channel: grpc.Channel, change: dict[str, Any], says: str) -> None:
    code, details = refusal(channel, X | change)
    assert code == INVALID
    assert says in details


@pytest.mark.parametrize("datatype", ["INT8", "INT16", "UINT8", "UINT16"])
def test_values_that_a_datatype_cannot_hold(channel: grpc.Channel, datatype: str) -> None:
    limits = np.iinfo(DATATYPES[datatype])
    contents = {CONTENTS[datatype]: [0, int(limits.max) + 1]}
    code, details = refusal(
        channel,
        {"name": "x", "datatype": datatype, "shape": [2], "contents": contents},
        signature=datatype,
    )
    assert code == INVALID
    assert details == (
        f"inputs[0].contents.{CONTENTS[datatype]}: expected {datatype} from {limits.min} to "
        f"{limits.max}, got {limits.max + 1}"
    )


@pytest.mark.parametrize(
    ("inputs", "raw", "says"),
    [
        (
            [RAW],
            [BYTES, BYTES],
            "raw_input_contents: expected none, or one for each of the 1 inputs",
        ),
        ([X], [BYTES], "inputs[0].contents: expected none beside raw_input_contents"),
        ([RAW], [BYTES[:-1]], "raw_input_contents[0]: expected 8 bytes for FP32 of shape [1, 2]"),
        (
            [RAW | {"datatype": "BYTES"}],
            [b"\xff" * 8],
            "raw_input_contents[0]: expected each element",
        ),
        ([RAW | {"datatype": "BYTES"}], [b""], "raw_input_contents[0]: expected 2 values"),
        ([RAW, RAW], [BYTES, BYTES], "inputs[1].name: expected each input once, got 'x' again"),
        ([], [], "x"),
    ],
)
def test_bad_bytes(channel: grpc.Channel, inputs: Any, raw: Any, says: str) -> None:
    code, details = refusal(channel, *inputs, raw_input_contents=raw)
    assert code == INVALID
    assert says in details


@pytest.mark.parametrize(
    ("fields", "code", "says"),
    [
        ({"model_name": "nobody"}, "NOT_FOUND", "Latest(nobody)"),
        ({"model_name": ""}, INVALID, "expected the name of a model"),
        ({"model_version": "9"}, "NOT_FOUND", "Specific(m, 9)"),
        ({"model_version": "3"}, "NOT_FOUND", "Specific(m, 3)"),
        ({"model_version": "9" * 5000}, INVALID, "label"),
        ({"model_version": "-1"}, INVALID, "Unrecognized servable version label: -1"),
        ({"signature": "nobody"}, "FAILED_PRECONDITION", '"nobody" not found'),
        (
            {"parameters": {"signature_name": {"int64_param": 1}}},
            INVALID,
            "parameters.signature_name: expected string_param, got int64_param",
        ),
        ({"outputs": [{"name": "z"}]}, INVALID, "z"),
        ({"outputs": [{"name": "y"}, {"name": "y"}]}, INVALID, "duplicate"),
        (
            {"outputs": [{"name": "y", "parameters": {"classification": {"int64_param": 1}}}]},
            INVALID,
            "outputs[0].parameters: classification is not supported",
        ),
    ],
)
def test_bad_requests(channel: grpc.Channel, fields: dict[str, Any], code: str, says: str) -> None:
    answered, details = refusal(channel, X, **fields)
    assert answered == code
    assert says in details


@pytest.mark.parametrize("method", [services.MODEL_METADATA, services.MODEL_CONFIG])
def test_metadata_of_an_unknown_version(
    channel: grpc.Channel, method: services.Method[Any, Any]
) -> None:
    code, _ = failure(lambda timeout: call(channel, method, name="m", version="9"))
    assert code == "NOT_FOUND"


def test_requests_are_counted(server: ModelServer, channel: grpc.Channel) -> None:
    def counts() -> list[float]:
        with urllib.request.urlopen(f"http://{server.rest_address}/metrics", timeout=30) as answer:
            found = totals(answer.read().decode())
        latency = (f"{SERVING}request_latency_count", "m", "ModelInfer", "GRPC")
        return [
            found.get(latency, 0),
            found.get((f"{SERVING}request_count", "m", "OK"), 0),
            found.get((f"{SERVING}request_count", "m", "NOT_FOUND"), 0),
        ]

    before = counts()
    infer(channel, X)
    refusal(channel, X, model_version="9")
    assert [now - then for now, then in zip(counts(), before, strict=True)] == [1, 1, 1]
