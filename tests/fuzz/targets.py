"""Decoders of what strangers and model folders send, each with the errors that it documents.

A target is called with any bytes. It returns if they are read or rejected with a documented error;
anything else is a bug, also more than CPU_S or MEMORY_MB for one input.
"""

import functools
import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pillow_heif import register_heif_opener

from rockstar_contract.contract import Contract, ContractError
from rockstar_contract.csv_rows import read_table
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.images import decode_image
from rockstar_contract.manifest import MANIFEST_FILE, ManifestError, check_manifest, write_manifest
from rockstar_serving.gateway.api_keys import read_keys
from rockstar_serving.gateway.app import create_app
from rockstar_serving.gateway.open_inference import HEADER_LENGTH
from rockstar_serving.gateway.routes_file import read_routes
from rockstar_serving.model_server.batching_parameters import read_parameters
from rockstar_serving.model_server.core import Core
from rockstar_serving.model_server.grpc_service import handlers
from rockstar_serving.model_server.models.config import (
    ConfigError,
    Latest,
    ModelConfig,
    read_config_file,
)
from rockstar_serving.model_server.models.manager import Manager
from rockstar_serving.model_server.options import GrpcOptions
from rockstar_serving.model_server.warmup import masked_crc32c, read_records
from rockstar_serving.options import SettingError
from tests.contracts import make_contract
from tests.fake_engine import ONCE, FakeLoader, add_version
from tests.images import encoded, png, stroke
from tests.table_models import regression, table_classifier
from tests.unit.gateway.conftest import LIMITED, FakeServer
from tfs_api import json_request, services
from tfs_api.messages.inference_pb2 import ClassificationRequest
from tfs_api.messages.open_inference_pb2 import ModelInferRequest
from tfs_api.messages.prediction_pb2 import PredictRequest
from tfs_api.messages.tensor_pb2 import TensorProto
from tfs_api.signature import Signature, TensorSpec
from tfs_api.status import StatusError
from tfs_api.tensors import MAX_FILLED_BYTES, WIRE_TYPES, to_array, to_proto

CPU_S, MEMORY_MB = 3, 1500
CORPUS = Path(__file__).parent / "corpus"


class Target(NamedTuple):
    """A decoder.

    Attributes:
        decode: decodes bytes; raises no documented error.
        seeds: valid inputs.
        max_length: of generated inputs, in bytes.
    """

    decode: Callable[[bytes], object]
    seeds: list[bytes]
    max_length: int = 4096

    def inputs(self, name: str) -> list[bytes]:
        """The seeds, and the inputs in the repository that once failed."""
        return [*self.seeds, *(path.read_bytes() for path in sorted(CORPUS.glob(f"{name}-*")))]


@functools.cache
def _folder() -> Path:
    """A folder that lasts as long as the process."""
    folder = tempfile.TemporaryDirectory(prefix="rockstar-fuzz-")
    _open.enter_context(folder)
    return Path(folder.name)


_open = ExitStack()


def _raising(
    decode: Callable[[bytes], object], *documented: type[Exception]
) -> Callable[[bytes], None]:
    def call(data: bytes) -> None:
        with suppress(*documented):
            decode(data)

    return call


def _file(read: Callable[[Path], object], error: type[Exception]) -> Callable[[bytes], None]:
    def call(data: bytes) -> None:
        path = _folder() / "file"
        path.write_bytes(data)
        with suppress(error):
            read(path)

    return call


@functools.cache
def _http() -> Any:
    return create_app(LIMITED, FakeServer.of_all_kinds()).test_client()


def _posted(content_type: str, *paths: str) -> Callable[[bytes], None]:
    """Posts a body; the gateway may reject it, but must not fail."""

    def call(data: bytes) -> None:
        for path in paths:
            response = _http().post(path, data=data, content_type=content_type)
            assert response.status_code in (200, 400, 413, 415), response.text

    return call


def _infer(data: bytes) -> None:
    """Posts to /v2; the first two bytes are the length of the JSON, if they are not zero."""
    length, body = int.from_bytes(data[:2], "big"), data[2:]
    headers = {HEADER_LENGTH: str(length)} if length else {}
    response = _http().post("/v2/models/toy/infer", data=body, headers=headers)
    assert response.status_code in (200, 400, 413), response.text
    assert response.status_code == 200 or response.get_json().keys() == {"error"}


_HEADERS = (
    *("Content-Type", "Accept", "Accept-Encoding", "Content-Encoding", "X-Request-Timeout"),
    *("X-Request-ID", "traceparent", "tracestate", "Authorization", "Origin", "Host"),
    *("X-Forwarded-For", "X-Forwarded-Prefix", "Forwarded", HEADER_LENGTH),
)


def _head(data: bytes) -> None:
    """Posts an image; the first lines are the path and the arguments, the others are headers."""
    path, query, *values = [*data.decode("latin-1").replace("\r", "").split("\n"), ""]
    headers = dict(zip(_HEADERS, values, strict=False))
    environ = {"PATH_INFO": f"/{path}", "QUERY_STRING": query} | {
        f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items() if value
    }
    # The test client would reject what a client over a socket may send.
    environ["CONTENT_TYPE"] = environ.pop("HTTP_CONTENT_TYPE", "")
    response = _http().post("/", data=png(stroke()), environ_overrides=environ)
    assert response.status_code not in (500, 502), response.text


_DTYPES = {wire.dtype.name: wire.dtype for wire in WIRE_TYPES.values()}
_ANY_TYPE = Signature(
    {name: TensorSpec(name, dtype, (-1, 2)) for name, dtype in _DTYPES.items()}, {}
)
_TEXTS = Signature({"text": TensorSpec("text", np.dtype(object), None)}, {})


def _rest(data: bytes) -> None:
    with suppress(StatusError):
        json_request.parse_examples(data)
    with suppress(StatusError):
        parsed = json_request.parse_predict(data)
        for signature in (_ANY_TYPE, _TEXTS):
            with suppress(StatusError):
                json_request.feeds(parsed, signature)


def _tensor(data: bytes) -> None:
    try:
        proto = TensorProto.FromString(data)
        array = to_array(proto)
    except (DecodeError, ValueError):
        return
    assert array.nbytes <= max(MAX_FILLED_BYTES, len(data))
    again = to_array(to_proto(array.ravel()[:1000]))
    assert again.dtype == array.dtype


_CALLS = (services.PREDICT, services.CLASSIFY, services.REGRESS, services.MULTI_INFERENCE)
_METHODS = [each.path for each in (*_CALLS, services.MODEL_INFER, services.GET_MODEL_METADATA)]


class _AbortedError(Exception):
    pass


class _Context:
    """The parts of grpc.ServicerContext that handlers use."""

    def time_remaining(self) -> None:
        return None

    def is_active(self) -> bool:
        return True

    def abort(self, code: Any, details: str) -> None:
        assert details != "internal error", details
        raise _AbortedError(code, details)


@functools.cache
def _grpc() -> Any:
    add_version(_folder() / "toy", 1)
    manager = Manager([ModelConfig("toy", _folder() / "toy", Latest())], FakeLoader(), ONCE)
    manager.start()
    _open.callback(manager.stop)
    return handlers(Core(manager), GrpcOptions())


def _called(data: bytes) -> None:
    """Calls a method of the model server; the first byte chooses it."""
    method = _METHODS[data[0] % len(_METHODS)] if data else _METHODS[0]
    with suppress(_AbortedError):
        _grpc()[method].unary_unary(data[1:], _Context())


def _calls() -> Iterable[bytes]:
    predict = PredictRequest(model_spec={"name": "toy"})
    predict.inputs["x"].CopyFrom(to_proto(np.ones((2, 2), np.float32)))
    yield b"\0" + predict.SerializeToString()
    examples = json_request.parse_examples(_EXAMPLES).input
    classify = ClassificationRequest(model_spec={"name": "toy"}, input=examples)
    yield from (number + classify.SerializeToString() for number in (b"\1", b"\2"))
    infer = ModelInferRequest(model_name="toy", raw_input_contents=[bytes(16)])
    infer.inputs.add(name="x", shape=[2, 2], datatype="FP32")
    yield b"\4" + infer.SerializeToString()


def _checked(folder: Path) -> Callable[[bytes], None]:
    def call(data: bytes) -> None:
        folder.mkdir(exist_ok=True)
        (folder / MANIFEST_FILE).write_bytes(data)
        with suppress(ManifestError):
            check_manifest(folder)

    return call


def _manifest() -> bytes:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "model.tflite").write_bytes(b"model")
        write_manifest(Path(name))
        return (Path(name) / MANIFEST_FILE).read_bytes()


def _record(data: bytes) -> bytes:
    def sum_of(part: bytes) -> bytes:
        return masked_crc32c(part).to_bytes(4, "little")

    length = len(data).to_bytes(8, "little")
    return length + sum_of(length) + data + sum_of(data)


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _images() -> Iterable[bytes]:
    """Small files of every format, in modes and compressions with different decoders."""
    pixels = np.random.default_rng(0).integers(0, 255, (12, 12, 3), np.uint8)
    color = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    for kind in ("PNG", "JPEG", "WEBP", "TIFF"):
        yield _saved(color, kind, exif=exif)
    for kind in ("PNG", "BMP", "GIF", "TIFF"):
        for mode in ("L", "1", "P"):
            yield _saved(color.convert(mode), kind)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield _saved(color, "TIFF", compression=compression)
    for mode, kind in (
        ("CMYK", "JPEG"),
        ("CMYK", "TIFF"),
        ("RGBA", "PNG"),
        ("LA", "PNG"),
        ("RGBA", "WEBP"),
    ):
        yield _saved(color.convert(mode), kind)
    yield _saved(Image.fromarray(pixels[..., 0].astype(np.uint16) * 200), "PNG")
    yield _saved(Image.fromarray(pixels[..., 0].astype(np.float32)), "TIFF")


def _npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _zipped(compression: int, *arrays: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for number, array in enumerate(arrays):
            archive.writestr(f"array{number}.npy", array)
    return stream.getvalue()


_ARRAY = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8, 1)
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_ARCHIVES = [_zipped(compression, _npy(_ARRAY), _npy(_ARRAY)) for compression in _COMPRESSIONS]


def _more_images() -> Iterable[bytes]:
    """Formats with decoders that are slow under a property test, and files with several images."""
    register_heif_opener(thumbnails=False)
    pixels = np.random.default_rng(0).integers(0, 255, (12, 12, 3), np.uint8)
    texts = PngInfo()
    texts.add_text("a", "b" * 99, zip=True)
    texts.add_itxt("c", "d" * 99, zip=True)
    frames = {"save_all": True, "append_images": [Image.fromarray(pixels[::-1])]}
    for kind in ("ICO", "AVIF", "HEIF"):
        yield encoded(pixels, kind)
    yield encoded(pixels, "JPEG", progressive=True)
    yield encoded(pixels, "PNG", pnginfo=texts, icc_profile=bytes(99))
    for kind in ("PNG", "GIF", "WEBP", "AVIF", "TIFF"):
        yield encoded(pixels, kind, **frames)


def _form(*parts: bytes) -> bytes:
    return b"".join(b"--x\r\nContent-Disposition: form-data; " + part for part in parts) + b"--x--"


_EXAMPLES = b'{"context": {"y": "a"}, "examples": [{"x": 1.5}, {"x": [2.5], "z": [1, 2]}]}'
_ROWS = b"petal width,color\n2.0,red\n1.5,white\n"
_TENSOR = {"name": "image", "shape": [1, 8, 8, 1], "datatype": "FP32"}
_INFER = json.dumps({"inputs": [{**_TENSOR, "data": [0.5] * 64}]}).encode()
_INFER_BYTES = json.dumps({"inputs": [{**_TENSOR, "parameters": {"binary_data_size": 256}}]})
_MODELS_CONFIG = b"""model_config_list { config { name: "a" base_path: "/m/a" model_platform:
"tensorflow" model_version_policy { specific { versions: 1 } } version_labels { key: "b" value: 1 }
} }"""
_BATCHING = b"max_batch_size { value: 8 } allowed_batch_sizes: 8 num_batch_threads { value: 2 }"
_ROUTES = b"""[aliases]
digits = "cnn"
preview = { model = "cnn", label = "canary" }
[models.cnn]
sticky = "X-User-ID"
split = [{ label = "stable", weight = 95 }, { version = 2, weight = 5 }]
shadow = { version = 7, share = 0.1 }
"""
_KEYS = b'[keys.alice]\nsha256 = "%s"\nmodels = ["cnn"]\nrate = "100/minute"\n' % (b"0a" * 32)

TARGETS = {
    "image": Target(
        _raising(lambda data: decode_image(data, max_pixels=250_000), InvalidInputError),
        [*_images(), *_more_images()],
    ),
    "arrays": Target(
        _posted("application/octet-stream", "/predict/toy", "/predict/table"),
        [_npy(_ARRAY), _npy(_ARRAY[..., 0].astype(">i2")), _npy(np.zeros((2, 4))), *_ARCHIVES],
    ),
    "csv": Target(
        _raising(lambda data: read_table(data, "body", max_bytes=200_000), InvalidInputError),
        [_ROWS, b'"petal width";"color"\r\n2,5;"red"\r\n', b"\xff\xfe" + "a\tb\n1\t2".encode("utf-16-le")],
    ),
    "rows": Target(_posted("text/csv", "/predict/table", "/predict/number"), [_ROWS]),
    "head": Target(
        _head,
        [
            b"predict/toy\ntop=2&threshold=0.5&version=1\nimage/png\napplication/json;q=0.5, text/csv"
            b"\ngzip\nidentity\n2.5\nan-id\n00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\na=b"
            b"\nBearer rock-a\nhttps://a\na:80\n10.0.0.1\n/a\nfor=10.0.0.1\n12",
            b"v1/models/toy/versions/1:predict\n\napplication/json",
            b"v2/models/toy/versions/1/infer\n\napplication/json",
            b"explain/toy\nlabel=one\nimage/png",
        ],
    ),
    "form": Target(
        _posted("multipart/form-data; boundary=x", "/predict/table", "/predict/toy"),
        [
            _form(b'name="image"; filename="a.csv"\r\n\r\n' + _ROWS + b"\r\n"),
            _form(b"name=a\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n", b"name=b\r\n\r\n\r\n"),
            _form(b"name=a; filename*=utf-8''%e2.npy\r\n\r\n" + _npy(_ARRAY) + b"\r\n"),
        ],
    ),
    "json": Target(
        _posted("application/json", "/predict/toy", "/predict/table"),
        [
            b'{"instances": [{"b64": "iVBORw0KGgo="}, "data:image/png;base64,AAAA", [[0.5], [1]]]}',
            b'{"inputs": {"petal width": [2.0, NaN], "color": ["red", null]}}',
        ],
    ),
    "rest": Target(
        _rest,
        [
            b'{"signature_name": "a", "instances": [[0.5, 1], [true, "a"]]}',
            b'{"instances": [{"float32": [0.5, 2], "int8": [1, 2], "bool": [true, false]}]}',
            b'{"inputs": {"object": [["a", {"b64": "AAAA"}]], "uint64": [[1, 18446744073709551615]]}}',
            _EXAMPLES,
            b'{"inputs": [-Inf, NaN, "\\ud83d\\ude00"]}',
        ],
    ),
    "verbs": Target(
        _posted("", *(f"/v1/models/table:{verb}" for verb in ("predict", "classify", "regress"))),
        [b'{"instances": [[0.5, 1, 2, 3]]}', b'{"inputs": {"features": [[1, 2, 3, 4]]}}', _EXAMPLES],
    ),
    "infer": Target(
        _infer,
        [b"\0\0" + _INFER, len(_INFER_BYTES).to_bytes(2, "big") + _INFER_BYTES.encode() + bytes(256)],
    ),
    "tensor": Target(
        _tensor,
        [
            to_proto(array, as_content=as_content).SerializeToString()
            for as_content in (False, True)
            for array in (_ARRAY[:2, :2], np.array([b"a", b"bc"], object), np.array([[1, 2]], np.int8))
        ],
    ),
    "grpc": Target(_called, [*_calls()]),
    "routes": Target(_file(read_routes, SettingError), [_ROUTES]),
    "keys": Target(_file(read_keys, SettingError), [_KEYS]),
    "models-config": Target(_file(read_config_file, ConfigError), [_MODELS_CONFIG]),
    "batching": Target(_file(read_parameters, ConfigError), [_BATCHING]),
    "manifest": Target(_checked(_folder() / "version"), [_manifest()]),
    "warmup": Target(
        _file(lambda path: list(read_records(path)), StatusError), [_record(b"a") + _record(b"")]
    ),
    "contract": Target(
        _raising(Contract.from_json, ContractError),
        [
            each.to_json().encode()
            for each in (make_contract(), table_classifier(), regression())
        ],
    ),
}  # fmt: skip
