"""Predict on a bare engine, and requests that do not match a signature."""

from dataclasses import replace

import numpy as np
import pytest

from rockstar_serving.model_server.core import PredictQuery, check_fetches, check_inputs, predict
from tests.examples_engine import GivenEngine
from tests.fake_engine import DOUBLE, SUM, refusal
from tfs_api.signature import REGRESS_METHOD, Signature
from tfs_api.status import Code

X = {"x": np.ones((1, 2), np.float32)}


def engine(method_name: str) -> GivenEngine:
    return GivenEngine(Signature(DOUBLE.inputs, DOUBLE.outputs, method_name), y=X["x"])


def test_a_signature_of_another_method_of_tensorflow_serving_will_do() -> None:
    query = PredictQuery(lambda _: X)
    assert predict(engine(REGRESS_METHOD), query, check_method=True).outputs["y"].tolist()


def test_methods_are_checked_if_configured() -> None:
    query = PredictQuery(lambda _: X)
    assert predict(engine("other"), query).signature_name == "serving_default"
    assert refusal(predict, engine("other"), query, check_method=True) == (
        Code.INTERNAL,
        "Expected prediction signature method_name to be one of {tensorflow/serving/predict, "
        "tensorflow/serving/classify, tensorflow/serving/regress}. Was: other",
    )


INTS = np.zeros(3, np.int32)


OPTIONAL = replace(SUM, defaults={"b": INTS})


def test_inputs_with_a_default_are_optional() -> None:
    check_inputs({"a": INTS}, OPTIONAL)
    check_inputs({"a": INTS, "b": INTS}, OPTIONAL)


@pytest.mark.parametrize(
    ("sent", "signature", "message"),
    [
        (
            *("a", SUM),
            "input size does not match signature: 1!=2 len({a}) != len({a,b}). "
            "Sent extra: {}. Missing but required: {b}.",
        ),
        (
            *("abc", SUM),
            "input size does not match signature: 3!=2 len({a,b,c}) != len({a,b}). "
            "Sent extra: {c}. Missing but required: {}.",
        ),
        (
            *("az", SUM),
            "Signature input alias: b(feed name: tensor:0) not found in request and no default "
            "value provided. Inputs expected to be in the request {a,z}, or default input alias "
            "set: ",
        ),
        (
            *("b", OPTIONAL),
            "Signature input alias: a(feed name: tensor:0) not found in request and no default "
            "value provided. Inputs expected to be in the request {b}, or default input alias "
            "set: b",
        ),
        (
            *("az", OPTIONAL),
            "Inputs contains invalid name. Used request inputs: a, request input: a,z",
        ),
    ],
)
def test_names_that_do_not_fit(sent: str, signature: Signature, message: str) -> None:
    feeds = dict.fromkeys(sent, INTS)
    assert refusal(check_inputs, feeds, signature) == (Code.INVALID_ARGUMENT, message)


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
    assert refusal(check_fetches, names, SUM) == (Code.INVALID_ARGUMENT, message)
