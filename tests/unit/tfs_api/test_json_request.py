"""JSON request bodies of the REST API."""

import json
from typing import Any

import numpy as np
import pytest

from tests.fake_engine import DOUBLE, ECHO, SUM, spec
from tfs_api.json_request import feeds, parse, parse_predict
from tfs_api.signature import Signature
from tfs_api.status import Code, StatusError

BYTES = Signature(inputs={"s": spec(object, -1), "n": spec(np.int8, -1)}, outputs={})
CONSTANT = Signature(inputs={}, outputs={"y": spec(np.float32, 3)})


@pytest.mark.parametrize(
    ("body", "document"),
    [
        ('{"a": [1, -2.5e3, true, null, "é"]}', {"a": [1, -2500.0, True, None, "é"]}),
        ("\ufeff {}\n", {}),
        ('{"a": [Infinity, -Infinity, Inf, -Inf]}', {"a": [np.inf, -np.inf, np.inf, -np.inf]}),
        ('{"a": ["Inf -NaN \\" Inf", Inf]}', {"a": ['Inf -NaN " Inf', np.inf]}),
        ('{"a": 18446744073709551615}', {"a": 2**64 - 1}),
        ('{"a": [18446744073709551616, 1, 0.5]}', {"a": [2.0**64, 1, 0.5]}),
        ('{"a": "\udcff"}', {"a": "\udcff"}),
        ("[1] [2", [1]),
        ("\n[Infinity]}\0", [np.inf]),
        ('{"a": 1, "b": 2, "a": 3}', {"a": 3, "b": 2}),
        ('{"a": 1, "b": 2, "a": 3} x', {"a": 3, "b": 2}),
        ('["\\\\ud800", "\\ud83d\\ude00"] x', ["\\ud800", "\U0001f600"]),
    ],
    ids=map(str, range(12)),
)
def test_documents(body: str, document: Any) -> None:
    assert parse(body.encode("utf-8", "surrogateescape")) == document


@pytest.mark.parametrize("token", ["NaN", "-NaN"])
def test_documents_with_nan(token: str) -> None:
    (value,) = parse(f"[{token}]".encode())
    assert np.isnan(value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "The document is empty"),
        (" \n", " at offset: "),
        ("{1: 2}", " at offset: 1"),
        ('{"a": 1', "unexpected end of data at offset: 7"),
        ('{"a": [[1], {}, "]" 2]}', "expected ',' or ']' at offset: 20"),
        ("[01]", "leading zero is not allowed at offset: 1"),
        ('{"é": "x', " at offset: 9"),
        ('["\t"]', " at offset: 2"),
        ("[Inf, -NaN", " at offset: "),
        ("[1, 1e999]", "1e999 is too large for a double"),
        ("[" + "9" * 400 + "]", f"{'9' * 40} is too large for a double"),
        ('{"é": "\\ud800\\u0041"}', "The surrogate pair in string is invalid."),
        ("[" * 100_000, "Nested too deeply"),
    ],
    ids=map(str, range(13)),
)
def test_invalid_json(body: str, message: str) -> None:
    with pytest.raises(StatusError) as caught:
        parse(body.encode())
    assert caught.value.code == Code.INVALID_ARGUMENT
    assert caught.value.message.startswith("JSON Parse error: ")
    assert message in caught.value.message


def read(body: str, signature: Signature) -> dict[str, Any]:
    return {
        name: array.tolist()
        for name, array in feeds(parse_predict(body.encode()), signature).items()
    }


@pytest.mark.parametrize(
    ("signature", "body", "expected"),
    [
        (DOUBLE, '{"instances": [{"x": [1, 2]}]}', {"x": [[1, 2]]}),
        (DOUBLE, '{"inputs": {"x": [[1, 2]], "y": [[0]]}, "extra": null}', {"x": [[1, 2]]}),
        (DOUBLE, '{"instances": [[], []]}', {"x": [[], []]}),
        (DOUBLE, '{"inputs": [1e39, 16777217]}', {"x": [np.inf, 16777216]}),
        (DOUBLE, '{"inputs": [100000000000000000000]}', {"x": [np.float32(1e20)]}),
        (SUM, '{"instances": [{"a": [1], "b": 2}]}', {"a": [[1]], "b": [2]}),
        (ECHO, '{"instances": ["é", {"b64": "/w=="}]}', {"text": ["é".encode(), b"\xff"]}),
        (ECHO, '{"instances": [{"text": {"b64": "/w=="}}]}', {"text": [b"\xff"]}),
        (ECHO, '{"inputs": {"b64": "YQ=="}}', {"text": b"a"}),
        (ECHO, '{"inputs": [{"b64": "YQ"}, {"b64": " Y\\nQ.. "}]}', {"text": [b"a", b"a"]}),
        (ECHO, '{"inputs": [["a", "b"], ["c", "["]]}', {"text": [[b"a", b"b"], [b"c", b"["]]}),
        # TensorFlow Serving reads small dtypes as int32, and keeps the low bits.
        (BYTES, '{"inputs": {"s": [], "n": [128, -129, 65536]}}', {"s": [], "n": [-128, 127, 0]}),
        (DOUBLE, '{"instances": [NaN], "instances": [1]}', {"x": [1]}),
    ],
    ids=map(str, range(13)),
)
def test_feeds(signature: Signature, body: str, expected: dict[str, Any]) -> None:
    assert read(body, signature) == expected


def test_text_that_is_not_utf8_passes_through() -> None:
    array = feeds(parse_predict(b'{"inputs": "\xff\xe9"}'), ECHO)["text"]
    assert array.tolist() == b"\xff\xe9"


@pytest.mark.parametrize(
    "rows",
    [
        [[1.5, 2.0], [3.0, 4.0]],
        [[[1.5], [2.0], [2.5]], [[3.0], [4.0], [4.5]]],
        [[[[float(v)] for v in range(9)]] * 8] * 3,
        [[]] * 3,
    ],
    ids=["matrix", "thin", "many lists", "empty"],
)
@pytest.mark.parametrize("named", [False, True], ids=["unnamed", "named"])
@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_arrays_of_any_shape(rows: Any, named: bool, form: str) -> None:
    value: Any = rows
    if named:
        value = [{"x": row} for row in rows] if form == "instances" else {"x": rows}
    array = feeds(parse_predict(json.dumps({form: value}).encode()), DOUBLE)["x"]
    np.testing.assert_array_equal(array, np.array(rows, np.float32))


BAD_REQUESTS = [
    (DOUBLE, '{"inputs": true}', "JSON Value: true Type: True is not of expected type: float"),
    (CONSTANT, '{"inputs": {}}', "Failed to get input map for signature: DEFAULT"),
    (CONSTANT, '{"signature_name": "s"}', "Failed to get input map for signature: s"),
    (
        SUM,
        '{"inputs": {"a": [1], "b": [2147483648]}}',
        "JSON Value: 2147483648 Type: Number is not of expected type: int32 (input 'b')",
    ),
    (SUM, '{"inputs": {"a": true, "b": [1]}}', "True is not of expected type: int32 (input 'a')"),
    (
        BYTES,
        '{"inputs": {"s": ["a"], "n": [2147483648]}}',
        "JSON Value: 2147483648 Type: Number is not of expected type: int8",
    ),
    (ECHO, '{"inputs": [{"b64": 1}]}', 'JSON Value: {"b64": 1} not formatted correctly for base64'),
    (ECHO, '{"inputs": [{"b64": "YQ="}]}', "Unable to base64 decode"),
    (ECHO, '{"inputs": [{"b64": "YWJj===="}]}', "Unable to base64 decode"),
    (ECHO, '{"inputs": [{"b64": "Y\\u00a0Q=="}]}', "Unable to base64 decode"),
    (ECHO, '{"inputs": "\\ud800"}', "The surrogate pair in string is invalid."),
    (ECHO, '{"inputs": [["a"], "b"]}', 'JSON Value: "b" found at incorrect level: 2'),
]


@pytest.mark.parametrize(
    ("signature", "body", "message"),
    BAD_REQUESTS,
    ids=map(str, range(len(BAD_REQUESTS))),
)
def test_bad_requests(signature: Signature, body: str, message: str) -> None:
    """Besides those in tests/testdata/rest."""
    with pytest.raises(StatusError) as caught:
        feeds(parse_predict(body.encode()), signature)
    assert caught.value.code == Code.INVALID_ARGUMENT
    assert message in caught.value.message
    assert len(caught.value.message) < 400


def test_large_values_are_shortened_in_errors() -> None:
    for value in ([1.5] * 100_000, ["a" * 100_000], {"a" * 100_000: 1}):
        body = json.dumps({"instances": {"x": value}})
        with pytest.raises(StatusError, match=" Expecting 'instances'") as caught:
            feeds(parse_predict(body.encode()), DOUBLE)
        assert len(caught.value.message) < 900


def test_dtypes_that_json_does_not_have() -> None:
    signature = Signature({"x": spec(np.complex64, -1)}, {})
    with pytest.raises(
        StatusError, match="Conversion of JSON Value: 1 to type: complex64"
    ) as caught:
        read('{"inputs": [1]}', signature)
    assert caught.value.code == Code.UNIMPLEMENTED
