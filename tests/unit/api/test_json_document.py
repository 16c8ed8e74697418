"""JSON request bodies and the errors of those that are not JSON."""

from typing import Any

import numpy as np
import pytest

from tfs_api.json_document import parse
from tfs_api.status import Code, StatusError


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
def test_nan(token: str) -> None:
    (value,) = parse(f"[{token}]".encode())
    assert np.isnan(value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "The document is empty"),
        (" \n", " at offset: 2"),
        ("nul", " at offset: 0"),
        ("[1,]", " at offset: "),
        ("{1: 2}", " at offset: 1"),
        ('{"a": 1,}', " at offset: "),
        ('{"a" 1}', "Expecting ':' delimiter at offset: 5"),
        ('{"a": 1', "Expecting ',' delimiter at offset: 7"),
        ('{"a": [[1], {}, "]" 2]}', "Expecting ',' delimiter at offset: 20"),
        ("[01]", "Expecting ',' delimiter at offset: 2"),
        ('{"é": "x', " at offset: 7"),
        ('["\t"]', " at offset: 2"),
        ('["\\q"]', " at offset: 2"),
        ('["\\uzz"]', " at offset: "),
        ("[Inf, -NaN", " at offset: "),
        ("[1, 1e999]", "1e999 is too large for a double"),
        ("[" + "9" * 400 + "]", f"{'9' * 40} is too large for a double"),
        ('{"é": "\\ud800\\u0041"}', "The surrogate pair in string is invalid."),
        ("[" * 100_000, "Nested too deeply"),
    ],
    ids=map(str, range(19)),
)
def test_what_is_no_json(body: str, message: str) -> None:
    with pytest.raises(StatusError) as caught:
        parse(body.encode())
    assert caught.value.code == Code.INVALID_ARGUMENT
    assert caught.value.message.startswith("JSON Parse error: ")
    assert message in caught.value.message
