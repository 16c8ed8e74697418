"""No body causes a server error on either host; tests/fuzz damages files of every format."""

import gzip
import json
import zlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rockstar_serving.gateway.open_inference import HEADER_LENGTH
from tests.fuzz.damage import damaged
from tfs_api.open_inference import DATATYPES

TAKEN_OR_REFUSED = (200, 400, 413)
MODELS = st.sampled_from(["toy", "table", "number"])
# On each host.
fuzzed = settings(max_examples=150)


def npy_with(header, data=b""):
    text = header.encode("latin-1", "replace") + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def header(shape, descr="<f4"):
    return repr({"descr": descr, "fortran_order": False, "shape": tuple(shape)})


def predict(http, model, body, content_type):
    response = http.post(f"/predict/{model}", data=body, content_type=content_type)
    assert response.status_code in TAKEN_OR_REFUSED, response.text
    return response


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


ROWS = b"petal width,color\n2.0,red\n1.5,white\n"


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
    damaged([np.linspace(0, 1, 64, dtype=np.float32).tobytes(), b"\x01\x00\x00\x00a" * 3]),
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


@pytest.mark.parametrize("length", ["9" * 5000, "-1", "٣", "1e1", ""])
def test_oip_header_lengths(shared_http, length):
    infer(shared_http, b"{}", length.encode().decode("latin-1"))
