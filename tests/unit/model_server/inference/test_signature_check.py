"""Requests that do not match a signature."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rockstar_serving.model_server.inference.signature_check import check_fetches, check_inputs
from tests.fake_engine import DOUBLE, SUM
from tfs_api.status import Code, StatusError

INTS = np.zeros(3, np.int32)


def test_dtypes_and_shapes_are_left_to_the_model() -> None:
    check_inputs({"x": np.zeros((0, 2), np.float32)}, DOUBLE)
    check_inputs({"b": np.array(1.5), "a": np.array([b"x"], object)}, SUM)


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
    ],
)
def test_names_that_do_not_fit(feeds: dict[str, Any], message: str) -> None:
    with pytest.raises(StatusError) as caught:
        check_inputs(feeds, SUM)
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, message)


OPTIONAL = replace(SUM, defaults={"b": INTS})


def test_what_has_a_default_may_be_left_out() -> None:
    check_inputs({"a": INTS}, OPTIONAL)
    check_inputs({"a": INTS, "b": INTS}, OPTIONAL)


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
        check_inputs(feeds, OPTIONAL)
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, message)


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
