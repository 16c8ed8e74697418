"""Requests that do not match a signature."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from serving.api.signature import Signature, TensorSpec
from serving.api.status import Code, StatusError
from serving.model_server.inference.signature_check import check_feeds, check_fetches
from tests.fake_engine import DOUBLE, ECHO, SUM, spec

INTS = np.zeros(3, np.int32)


def test_what_fits_passes() -> None:
    check_feeds({"x": np.zeros((0, 2), np.float32)}, DOUBLE)
    check_feeds({"a": INTS, "b": INTS}, SUM)
    check_feeds({"text": np.array([b"x"], object)}, ECHO)
    anything = Signature({"x": TensorSpec("t", np.dtype(np.int8), None)}, {})
    check_feeds({"x": np.zeros((1, 2, 3), np.int8)}, anything)
    check_feeds({"x": np.array(1, np.int8)}, Signature({"x": spec(np.int8)}, {}))


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        (
            {"a": INTS},
            "input size does not match signature: 1!=2 len({a}) != len({a,b}). "
            "Sent extra: {}. Missing but required: {b}.",
        ),
        (
            {"a": INTS, "b": INTS, "c": INTS},
            "input size does not match signature: 3!=2 len({a,b,c}) != len({a,b}). "
            "Sent extra: {c}. Missing but required: {}.",
        ),
        (
            {"a": INTS, "z": INTS},
            "Signature input alias: b(feed name: tensor:0) not found in request and no default "
            "value provided. Inputs expected to be in the request {a,z}, or default input alias "
            "set: ",
        ),
        (
            {"a": INTS, "b": INTS.astype(np.int64)},
            "input 'b': expected int32 of shape [?], got int64 of shape [3]",
        ),
        (
            {"a": INTS, "b": INTS[np.newaxis]},
            "input 'b': expected int32 of shape [?], got int32 of shape [1, 3]",
        ),
    ],
)
def test_feeds_that_do_not_fit(feeds: dict[str, Any], message: str) -> None:
    with pytest.raises(StatusError) as caught:
        check_feeds(feeds, SUM)
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, message)


OPTIONAL = replace(SUM, defaults={"b": INTS})


def test_what_has_a_default_may_be_left_out() -> None:
    check_feeds({"a": INTS}, OPTIONAL)
    check_feeds({"a": INTS, "b": INTS}, OPTIONAL)


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        (
            {"b": INTS},
            "Signature input alias: a(feed name: tensor:0) not found in request and no default "
            "value provided. Inputs expected to be in the request {b}, or default input alias "
            "set: b",
        ),
        (
            {"a": INTS, "z": INTS},
            "Inputs contains invalid name. Used request inputs: a, request input: a,z",
        ),
    ],
)
def test_names_that_do_not_fit_where_there_are_defaults(
    feeds: dict[str, Any], message: str
) -> None:
    with pytest.raises(StatusError) as caught:
        check_feeds(feeds, OPTIONAL)
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, message)


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (np.zeros((1, 3), np.float32), "float32 of shape [1, 3]"),
        (np.array([b"x"], object), "string of shape [1]"),
    ],
)
def test_a_fixed_size_is_checked(array: Any, got: str) -> None:
    with pytest.raises(StatusError, match=r"expected float32 of shape \[\?, 2\]") as caught:
        check_feeds({"x": array}, DOUBLE)
    assert caught.value.message.endswith(f"got {got}")


def test_fetches() -> None:
    assert check_fetches([], SUM) == ["sum", "difference"]
    assert check_fetches(["difference"], SUM) == ["difference"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["product"],
            "output tensor alias not found in signature: product "
            "Outputs expected to be in the set {difference,sum}.",
        ),
        (["sum", "sum"], "duplicate output tensor alias: sum"),
    ],
)
def test_fetches_that_are_not_there(names: list[str], message: str) -> None:
    with pytest.raises(StatusError) as caught:
        check_fetches(names, SUM)
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, message)
