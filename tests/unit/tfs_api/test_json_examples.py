"""tf.Examples from JSON."""

import base64
import json
import math
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfs_api.json_request import parse_examples
from tfs_api.status import Code, StatusError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own
    import tensorflow as tf
    from tensorflow_serving.apis import input_pb2


def read(body: str | bytes) -> Any:
    """The input of a body as the official message."""
    data = body.encode() if isinstance(body, str) else body
    return input_pb2.Input.FromString(parse_examples(data).input.SerializeToString())


def feature(value: str) -> Any:
    """One feature from its JSON as the official message."""
    example = read(f'{{"examples": [{{"f": {value}}}]}}').example_list.examples[0]
    return example.features.feature["f"]


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("1", "int64_list", [1]),
        ("[1, -2]", "int64_list", [1, -2]),
        ("[true, false, 3]", "int64_list", [1, 0, 3]),
        (str(-(2**63)), "int64_list", [-(2**63)]),
        (str(2**63 - 1), "int64_list", [2**63 - 1]),
        ("1.0", "float_list", [1.0]),
        ("[1.5, 2e3, -0.0]", "float_list", [1.5, 2000.0, 0.0]),
        ("[0.5, Infinity, -Infinity]", "float_list", [0.5, math.inf, -math.inf]),
        ("3.4028234663852886e38", "float_list", [3.4028234663852886e38]),
        ("[0.0, 1e300]", "float_list", [0.0, math.inf]),
        ("-1e39", "float_list", [-math.inf]),
        ("100000000000000000000", "float_list", [float(tf.float32.as_numpy_dtype(1e20))]),
        ('"é"', "bytes_list", ["é".encode()]),
        ('["a", {"b64": "/w=="}, ""]', "bytes_list", [b"a", b"\xff", b""]),
        ('{"b64": ""}', "bytes_list", [b""]),
        ("[]", None, []),
    ],
)
def test_features(value: str, kind: str | None, expected: list[Any]) -> None:
    message = feature(value)
    assert message.WhichOneof("kind") == kind
    if kind:
        assert list(getattr(message, kind).value) == expected


def test_text_that_is_not_utf8_passes_through() -> None:
    message = read(b'{"examples": [{"f": "\xff"}]}')
    assert message.example_list.examples[0].features.feature["f"].bytes_list.value == [b"\xff"]


def test_examples_and_signature() -> None:
    request = parse_examples(b'{"signature_name": "s", "examples": [{"a": 1, "b": "x"}, {}]}')
    assert request.signature_name == "s"
    assert request.input.WhichOneof("kind") == "example_list"
    first, second = request.input.example_list.examples
    names = tf.train.Example.FromString(first).features.feature
    assert set(names) == {"a", "b"}
    assert second == b""
    assert parse_examples(b'{"examples": [{}]}').signature_name == ""
    twice = b'{"signature_name": "a", "signature_name": "b", "examples": 1, "examples": [{}]} x'
    assert parse_examples(twice).signature_name == "b"


def test_context() -> None:
    listed = read('{"context": {"c": "all"}, "examples": [{"a": 1}, {"a": 2}]}')
    with_context = listed.example_list_with_context
    assert with_context.context.features.feature["c"].bytes_list.value == [b"all"]
    assert [e.features.feature["a"].int64_list.value[0] for e in with_context.examples] == [1, 2]
    empty = read('{"context": {}, "examples": [{}]}')
    assert empty.WhichOneof("kind") == "example_list_with_context"


TYPE = "has element with unexpected JSON type:"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "JSON Parse error: The document is empty"),
        ("[1]", " Is not object"),
        ('{"x": ' + "[" * 900 + "]" * 900 + "}", "and was not found"),
        ('{"signature_name": 1, "examples": [{}]}', "'signature_name' key must be a string value."),
        ("{}", "When method is classify, key 'examples' is expected and was not found"),
        ('{"examples": {}}', " Expecting 'examples' value to be an list/array"),
        ('{"examples": []}', " 'examples' value is an empty array"),
        ('{"examples": [{}, 1]}', "Example must be JSON object but got JSON Number"),
        ('{"context": true, "examples": [{}]}', "must be JSON object but got JSON True"),
        # The context is read first.
        ('{"context": "c"}', "Example must be JSON object but got JSON String"),
        ('{"context": {"f": null}, "examples": [{}]}', f"Feature: f {TYPE} Null"),
    ],
)
def test_invalid_bodies(body: str, message: str) -> None:
    with pytest.raises(StatusError) as caught:
        parse_examples(body.encode())
    assert caught.value.code == Code.INVALID_ARGUMENT
    assert caught.value.message.endswith(message)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("null", f"Feature: f {TYPE} Null"),
        ("[[1.0]]", f"Feature: f {TYPE} Array"),
        ('{"b64": 1}', f"Feature: f {TYPE} Object"),
        ('{"b64": "YQ==", "x": 1}', f"Feature: f {TYPE} Object"),
        ("[1, 1.5]", "Unexpected element type in feature: f expecting type: int64"),
        ("[1.5, 1]", "Unexpected element type in feature: f expecting type: float"),
        ('["a", 1]', "Unexpected element type in feature: f expecting type: bytes"),
        # The first error is reported.
        ("[1, 1.5, null]", "Unexpected element type in feature: f expecting type: int64"),
        (str(2**63), "Feature: f has uint64_t element. Only int64_t is supported."),
        ('{"b64": "?"}', "Unable to base64 decode"),
        (r'"\ud800"', "JSON Parse error: The surrogate pair in string is invalid."),
    ],
)
def test_invalid_features(value: str, message: str) -> None:
    with pytest.raises(StatusError) as caught:
        feature(value)
    assert caught.value.code == Code.INVALID_ARGUMENT
    assert caught.value.message.startswith(message)


def test_names_that_are_not_text_are_rejected() -> None:
    with pytest.raises(StatusError, match="has a name that is not UTF-8 text"):
        parse_examples(rb'{"examples": [{"\udc00": 1}]}')


LISTS = {
    "int64_list": st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1),
    "float_list": st.lists(st.floats(width=32, allow_nan=False), min_size=1),
    "bytes_list": st.lists(st.binary(), min_size=1),
}


@settings(max_examples=100)
@given(
    features=st.dictionaries(
        st.text(max_size=5),
        st.one_of([st.tuples(st.just(kind), values) for kind, values in LISTS.items()]),
        max_size=4,
    )
)
def test_any_example_round_trips(features: dict[str, tuple[str, list[Any]]]) -> None:
    def as_json(values: list[Any]) -> Any:
        return [
            {"b64": base64.b64encode(v).decode()} if isinstance(v, bytes) else v for v in values
        ]

    example = {name: as_json(values) for name, (_, values) in features.items()}
    body = json.dumps({"examples": [example]}).encode()
    found = tf.train.Example.FromString(parse_examples(body).input.example_list.examples[0])
    assert set(found.features.feature) == set(features)
    for name, (kind, values) in features.items():
        assert list(getattr(found.features.feature[name], kind).value) == values
