"""No body causes a server error or takes more memory than its share."""

import gzip
import io
import json
import zipfile
import zlib
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from rockstar_serving.gateway.open_inference import HEADER_LENGTH
from tfs_api.open_inference import DATATYPES

TAKEN_OR_REFUSED = (200, 400, 413)
MODELS = st.sampled_from(["toy", "table", "number"])
ARRAY = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8, 1)
# On each host.
fuzzed = settings(max_examples=150)


WORDS = (b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\x01")


@st.composite
def damaged(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds with up to five changes, most of them near its beginning."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 5))):
        last = max(len(data) - 1, 0)
        at = draw(st.integers(0, min(last, 200)) | st.integers(0, last))
        match draw(st.integers(0, 3)):
            case 0:
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case 1:
                word = draw(st.sampled_from(WORDS))
                data[at : at + len(word)] = word
            case 2:
                del data[at : at + draw(st.integers(1, 20))]
            case _:
                data[at:at] = draw(st.binary(max_size=8))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 9)) == 0 else data)


def saved(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def images():
    """Small files of every format, in modes and compressions with different decoders."""
    pixels = np.random.default_rng(0).integers(0, 255, (12, 12, 3), np.uint8)
    color = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    for kind in ("PNG", "JPEG", "WEBP", "TIFF"):
        yield saved(color, kind, exif=exif)
    for kind in ("PNG", "BMP", "GIF", "TIFF"):
        for mode in ("L", "1", "P"):
            yield saved(color.convert(mode), kind)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield saved(color, "TIFF", compression=compression)
    for mode, kind in (
        ("CMYK", "JPEG"),
        ("CMYK", "TIFF"),
        ("RGBA", "PNG"),
        ("LA", "PNG"),
        ("RGBA", "WEBP"),
    ):
        yield saved(color.convert(mode), kind)
    yield saved(Image.fromarray(pixels[..., 0].astype(np.uint16) * 200), "PNG")
    yield saved(Image.fromarray(pixels[..., 0].astype(np.float32)), "TIFF")


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npy_with(header, data=b""):
    text = header.encode("latin-1", "replace") + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def header(shape, descr="<f4"):
    return repr({"descr": descr, "fortran_order": False, "shape": tuple(shape)})


def zipped(compression, *arrays):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for number, array in enumerate(arrays):
            archive.writestr(f"array{number}.npy", array)
    return stream.getvalue()


COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
ARCHIVES = [zipped(compression, npy(ARRAY), npy(ARRAY)) for compression in COMPRESSIONS]


def predict(http, model, body, content_type):
    response = http.post(f"/predict/{model}", data=body, content_type=content_type)
    assert response.status_code in TAKEN_OR_REFUSED, response.text
    return response


@given(MODELS, st.deferred(lambda: damaged(list(images()))))
@settings(max_examples=250)
def test_images(shared_http, model, body):
    predict(shared_http, model, body, "image/png")


@given(
    st.text(max_size=80)
    | st.builds(
        header,
        st.lists(st.integers(-2, 70) | st.integers() | st.booleans(), max_size=40),
        st.sampled_from(["<f4", ">f8", "<i8", "|b1", "|O", "<U9", "<f16", "|V5"])
        | st.text(max_size=5),
    ),
    st.sampled_from([b"", bytes(4), bytes(256), bytes(512)]),
)
@example("-" * 5000 + "1", b"")
@example("(" * 5000, b"")
@example("{[]: 1}", b"")
@example(header((3_000_000, 0, 0, 0)), b"")
@example(header((-8, -8, 1)), bytes(256))
@example(header([1] * 100), bytes(4))
@example(header([0, *[2**31 - 1] * 3]), b"")
@fuzzed
def test_npy_headers(shared_http, text, data):
    predict(shared_http, "toy", npy_with(text, data), "application/x-npy")


@given(
    MODELS,
    damaged([npy(ARRAY), npy(ARRAY[..., 0].astype(">i2")), npy(np.zeros((2, 4))), *ARCHIVES]),
)
@fuzzed
def test_npy_and_npz(shared_http, model, body):
    predict(shared_http, model, body, "application/octet-stream")


ROWS = b"petal width,color\n2.0,red\n1.5,white\n"


@given(
    damaged([b"petal width,color\n2.0,red\n1.5,white\n", b'"petal width";"color"\r\n2;"red"\r\n'])
)
@fuzzed
def test_csv(shared_http, body):
    predict(shared_http, "table", body, "text/csv")


@given(
    damaged(
        [
            b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.csv"\r\n\r\n'
            b"petal width,color\r\n2,red\r\n--x--\r\n"
        ]
    ),
    st.sampled_from(["; boundary=x", "; boundary=", "", '; boundary="x', "; boundary=\u00e9"]),
)
@fuzzed
def test_multipart(shared_http, body, boundary):
    predict(shared_http, "table", body, f"multipart/form-data{boundary}")


@given(
    damaged([pack(ROWS) for pack in (gzip.compress, zlib.compress)]),
    st.sampled_from(["gzip", "deflate"]) | st.text(st.characters(max_codepoint=126), max_size=9),
)
@fuzzed
def test_compressed(shared_http, body, coding):
    headers = {"Content-Encoding": "".join(filter(str.isprintable, coding))}
    response = shared_http.post(
        "/predict/table", data=body, content_type="text/csv", headers=headers
    )
    assert response.status_code in (*TAKEN_OR_REFUSED, 415), response.text


@pytest.mark.parametrize("more", ["", '; filename="a.png"'])
def test_a_field_without_a_name(shared_http, more):
    body = f"--x\r\nContent-Disposition: form-data{more}\r\n\r\nabc\r\n--x--\r\n"
    response = predict(shared_http, "toy", body, "multipart/form-data; boundary=x")
    assert "unnamed field" in response.text


# With lone surrogates, which JSON can represent and UTF-8 cannot.
TEXT = st.text(st.characters(), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=12,
)


@given(MODELS, JSON, st.booleans())
@example("table", {"\ud800": 1}, True)
@example("table", {"\ud800": 1}, False)
@fuzzed
def test_json_instances(shared_http, model, value, partial):
    url = f"{model}?partial={str(partial).lower()}"
    predict(shared_http, url, json.dumps({"instances": [value, [0.0] * 4]}), "application/json")


@given(
    st.text(max_size=40)
    | st.builds(
        "data:{};base64,{}".format, st.text(max_size=5), st.text("AZaz09+/-_= \n", max_size=40)
    )
)
@fuzzed
def test_base64(shared_http, text):
    for value in (text, {"b64": text}):
        predict(shared_http, "toy", json.dumps({"instances": [value]}), "application/json")


INPUT = {"name": "image", "shape": [1, 8, 8, 1], "datatype": "FP32"}


def infer(http, body, length=None):
    headers = {} if length is None else {HEADER_LENGTH: str(length)}
    response = http.post("/v2/models/toy/infer", data=body, headers=headers)
    assert response.status_code in TAKEN_OR_REFUSED, response.text
    assert response.status_code == 200 or response.get_json().keys() == {"error"}


@given(
    st.lists(st.integers(-1, 9) | st.integers(), max_size=5),
    st.sampled_from([*DATATYPES, "FP8"]),
    JSON | st.lists(st.integers(0, 2) | st.integers() | st.floats() | st.booleans()),
    JSON,
)
@example([0, 2**63], "FP32", [], {})
@example([1] * 100, "FP32", [0], {})
@example([0, *[2**31 - 1] * 3], "FP32", [], {})
@example([2], "UINT64", [1, 2**64 - 1], {})
@example([1], "FP32", [10**400], {})
@fuzzed
def test_oip_values(shared_http, shape, datatype, data, more):
    tensor = {"name": "image", "shape": shape, "datatype": datatype, "data": data}
    parameters = more if isinstance(more, dict) else {}
    infer(shared_http, json.dumps({"inputs": [tensor], "parameters": parameters}))


@given(
    damaged([ARRAY.tobytes(), b"\x01\x00\x00\x00a" * 3]),
    st.sampled_from([*DATATYPES]),
    st.lists(st.integers(0, 64), max_size=4) | st.just([1, 8, 8, 1]),
    st.integers(-1, 300),
    st.integers(-3, 3),
)
@fuzzed
def test_oip_bytes(shared_http, data, datatype, shape, size, beside):
    parameters = {"binary_data_size": size if size < 250 else len(data)}
    tensor = {"name": "image", "shape": shape, "datatype": datatype, "parameters": parameters}
    text = json.dumps({"inputs": [tensor]}).encode()
    infer(shared_http, text + data, len(text) + beside)


@given(damaged([json.dumps({"id": "1", "inputs": [{**INPUT, "data": [0.5] * 64}]}).encode()]))
@fuzzed
def test_oip_documents(shared_http, body):
    infer(shared_http, body)


@pytest.mark.parametrize("length", ["9" * 5000, "-1", "٣", "1e1", ""])
def test_oip_header_lengths(shared_http, length):
    infer(shared_http, b"{}", length.encode().decode("latin-1"))


@given(
    st.sampled_from(["predict", "classify", "regress"]),
    damaged(
        [
            json.dumps({"signature_name": "serving_default", "instances": [[0.5] * 4]}).encode(),
            json.dumps({"inputs": {"features": [[0.5] * 4]}}).encode(),
            json.dumps({"context": {"y": "a"}, "examples": [{"x": 1.5}, {"x": [2.5]}]}).encode(),
        ]
    ),
)
@fuzzed
def test_rest_documents(shared_http, verb, body):
    response = shared_http.post(f"/v1/models/table:{verb}", data=body)
    assert response.status_code in TAKEN_OR_REFUSED, response.text
