"""Bodies of requests, and the words for what is wrong with them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfs_api.json_document import parse, plain
from tfs_api.status import Code, StatusError

ROOT = Path(__file__).parents[3]


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
        ('{"a": 1, "b": 2, "a": 3} x', {"a": 1, "b": 2}),
        ('["\\\\ud800", "\\ud83d\\ude00"] x', ["\\ud800", "\U0001f600"]),
    ],
    ids=map(str, range(11)),
)
def test_documents(body: str, document: Any) -> None:
    assert plain(parse(body.encode("utf-8", "surrogateescape"))) == document


@pytest.mark.parametrize("token", ["NaN", "-NaN"])
def test_nan(token: str) -> None:
    (value,) = plain(parse(f"[{token}]".encode()))
    assert np.isnan(value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "The document is empty"),
        (" \n", "The document is empty. at offset: 2"),
        ("nul", "Invalid value. at offset: 0"),
        ("[1,]", "Invalid value. at offset: 3"),
        ("{1: 2}", "Missing a name for object member. at offset: 1"),
        ('{"a": 1,}', "Missing a name for object member. at offset: 8"),
        ('{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
        ('{"a": 1', "Missing a comma or '}' after an object member. at offset: 7"),
        ('{"a": [[1], {}, "]" 2]}', "Missing a comma or ']' after an array element. at offset: 20"),
        ("[01]", "Missing a comma or ']' after an array element. at offset: 2"),
        ('{"é": "x', "Missing a closing quotation mark in string. at offset: 9"),
        ('["\t"]', "Invalid escape character in string. at offset: 2"),
        ('["\\q"]', "Invalid escape character in string. at offset: 2"),
        ('["\\uzz"]', "Incorrect hex digit after \\u escape in string. at offset: 3"),
        ("[Inf, -NaN", "Missing a comma or ']' after an array element. at offset: "),
        ("[1, 1e999]", "Number too big to be stored in double. at offset: 4"),
        ("[" + "9" * 400 + "]", "Number too big to be stored in double. at offset: 1"),
        ('{"é": "\\ud800\\u0041"}', "The surrogate pair in string is invalid. at offset: 8"),
        ("[" * 100_000, "Nested too deeply or a number too long at offset: 0"),
    ],
    ids=map(str, range(19)),
)
def test_what_is_no_json(body: str, message: str) -> None:
    with pytest.raises(StatusError) as caught:
        parse(body.encode())
    assert caught.value.code == Code.INVALID_ARGUMENT
    assert caught.value.message.startswith(f"JSON Parse error: {message}")


def test_a_document_stays_whole_while_others_are_read() -> None:
    kept = [parse(json.dumps({"a": [index]}).encode()) for index in range(20)]
    assert [plain(document) for document in kept] == [{"a": [index]} for index in range(20)]


def test_without_simdjson_the_answers_are_the_same() -> None:
    """The gateway reads TensorFlow Serving's REST API also where the embedded server is not installed."""
    code = (
        "import sys; sys.modules['simdjson'] = None; import pytest; "
        "sys.exit(pytest.main([*sys.argv[1:], '-q', '-p', 'no:cacheprovider', '--deselect', "
        "'tests/unit/api/test_json_document.py::test_without_simdjson_the_answers_are_the_same']))"
    )
    files = [f"tests/unit/api/test_json_{name}.py" for name in ("document", "tensors", "examples")]
    done = subprocess.run(
        [sys.executable, "-c", code, *files], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout
