"""Classify and Regress on an engine alone."""

import time
from typing import Any

import numpy as np
import pytest

from rockstar_serving.model_server.deadline import Deadline, DeadlineExceededError
from rockstar_serving.model_server.inference.classify import classify
from rockstar_serving.model_server.inference.examples import ExamplesQuery
from rockstar_serving.model_server.inference.regress import regress
from tests.examples_engine import (
    CLASSES,
    EXAMPLES,
    REGRESSION,
    SCORES,
    ExamplesEngine,
    GivenEngine,
    example,
)
from tests.fake_engine import DOUBLE, SUM, spec
from tfs_api.signature import CLASSIFY_METHOD, PREDICT_METHOD, REGRESS_METHOD, Signature
from tfs_api.status import Code, StatusError

TWO = [example(x=1.5), example(x=-2.0)]


@pytest.mark.parametrize(
    ("signature", "labels", "scores"),
    [
        ("", [["cold", "warm"]] * 2, [[-1.5, 1.5], [2, -2]]),
        ("serving_default", [["cold", "warm"]] * 2, [[-1.5, 1.5], [2, -2]]),
        ("labels", [["cold", "warm"]] * 2, [[0, 0], [0, 0]]),
        ("scores", [["", ""]] * 2, [[-1.5, 1.5], [2, -2]]),
        ("classify_by_predict", [["cold", "warm"]] * 2, [[-1.5, 1.5], [2, -2]]),
    ],
)
def test_classify(signature: str, labels: Any, scores: Any) -> None:
    found = classify(ExamplesEngine(), ExamplesQuery(TWO, signature))
    assert found.labels == labels
    assert found.scores.tolist() == scores
    assert found.scores.dtype == np.float32
    assert found.signature_name == (signature or "serving_default")


@pytest.mark.parametrize("signature", ["regress", "regress_by_predict"])
def test_regress(signature: str) -> None:
    found = regress(ExamplesEngine(), ExamplesQuery(TWO, signature))
    assert found.values.tolist() == [1.5, -2]
    assert found.signature_name == signature


def test_regress_with_a_number_each_and_no_axis_for_it() -> None:
    signature = Signature(EXAMPLES, {"outputs": spec(np.float32, -1)})
    engine = GivenEngine(signature, outputs=np.array([1, 2], np.float32))
    assert regress(engine, ExamplesQuery(TWO)).values.tolist() == [1, 2]


@pytest.mark.parametrize("ask", [classify, regress])
def test_what_both_refuse(ask: Any) -> None:
    own = {classify: "", regress: "regress"}[ask]
    for query, message in [
        (ExamplesQuery(TWO, "s"), "No signature was found with the name: s"),
        (ExamplesQuery([], own), "Input is empty."),
        # The signature is looked at before the examples.
        (ExamplesQuery([], "s"), "No signature was found with the name: s"),
        (ExamplesQuery([example(y=1.0)], own), "feature x has 0 values"),
    ]:
        with pytest.raises(StatusError) as caught:
            ask(ExamplesEngine(), query)
        assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, message)


@pytest.mark.parametrize("ask", [classify, regress])
def test_nothing_is_run_for_a_caller_that_is_gone(ask: Any) -> None:
    engine = ExamplesEngine()
    name = {classify: "", regress: "regress"}[ask]
    with pytest.raises(DeadlineExceededError):
        ask(engine, ExamplesQuery(TWO, name, Deadline(time.monotonic() - 1)))
    assert engine.runs == []


CLASSIFY_OTHERS = [
    (SUM, "Expected one input Tensor."),
    (Signature({}, SCORES), "Expected one input Tensor."),
    (
        Signature(EXAMPLES, CLASSES | SCORES | REGRESSION),
        "Expected one or two output Tensors, found 3",
    ),
    (Signature(EXAMPLES, {}), "Expected one or two output Tensors, found 0"),
    (DOUBLE, 'No classification inputs found in SignatureDef: inputs {\n  key: "x"\n'),
    (
        Signature(EXAMPLES, REGRESSION),
        "Expected classification signature outputs to contain at least one of "
        '"classes" or "scores". Signature was: inputs {\n  key: "inputs"\n',
    ),
]
REGRESS_OTHERS = [
    (SUM, "Expected one input Tensor."),
    (Signature(EXAMPLES, CLASSES | SCORES), "Expected one output Tensor."),
    (DOUBLE, 'No regression inputs found in SignatureDef: inputs {\n  key: "x"\n'),
    (
        Signature(EXAMPLES, SCORES),
        'No regression outputs found in SignatureDef: inputs {\n  key: "inputs"\n',
    ),
]


@pytest.mark.parametrize(
    ("ask", "signature", "message"),
    [
        *((classify, *other) for other in CLASSIFY_OTHERS),
        *((regress, *other) for other in REGRESS_OTHERS),
    ],
)
def test_signatures_for_something_else(ask: Any, signature: Signature, message: str) -> None:
    with pytest.raises(StatusError) as caught:
        ask(GivenEngine(signature), ExamplesQuery(TWO))
    assert caught.value.code == Code.INVALID_ARGUMENT
    assert caught.value.message.startswith(message)


def strings(*rows: Any) -> Any:
    return np.array(rows, object)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (
            {"scores": np.zeros(2, np.float32)},
            "Expected Tensor shape: [batch_size num_classes] but got [2]",
        ),
        (
            {"classes": strings([[b"a"]], [[b"b"]])},
            "Expected Tensor shape: [batch_size num_classes] but got [2,1,1]",
        ),
        ({"scores": np.zeros((2, 3))}, "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
        (
            {"classes": np.zeros((2, 3), np.int64)},
            "Expected classes Tensor of DT_STRING. Got: DT_INT64",
        ),
        (
            {"scores": np.zeros((3, 3), np.float32)},
            "Expected scores output batch size of 2. Got: 3",
        ),
        ({"classes": strings([b"a"])}, "Expected classes output batch size of 2. Got: 1"),
        (
            {"classes": strings([b"a"], [b"b"]), "scores": np.zeros((2, 3), np.float32)},
            "Tensors class and score should match in dim_size(1). Got 1 vs. 3",
        ),
    ],
)
def test_outputs_that_are_no_classification(outputs: dict[str, Any], message: str) -> None:
    signature = Signature(EXAMPLES, {name: (CLASSES | SCORES)[name] for name in outputs})
    with pytest.raises(StatusError) as caught:
        classify(GivenEngine(signature, **outputs), ExamplesQuery(TWO))
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, message)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.zeros((2, 2), np.float32),
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] "
            "but got [2,2]",
        ),
        (
            np.float32(1),
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got []",
        ),
        (
            np.zeros(3, np.float32),
            "Input batch size did not match output batch size: 2 vs. 3",
        ),
        (np.zeros((2, 1)), "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE"),
    ],
)
def test_outputs_that_are_no_regression(array: Any, message: str) -> None:
    engine = GivenEngine(Signature(EXAMPLES, REGRESSION), outputs=np.asarray(array))
    with pytest.raises(StatusError) as caught:
        regress(engine, ExamplesQuery(TWO))
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, message)


@pytest.mark.parametrize(
    ("ask", "signature", "kind", "wanted", "was"),
    [
        (classify, "classify_by_predict", "classification", CLASSIFY_METHOD, PREDICT_METHOD),
        (classify, "regress", "classification", CLASSIFY_METHOD, REGRESS_METHOD),
        (regress, "regress_by_predict", "regression", REGRESS_METHOD, PREDICT_METHOD),
    ],
)
def test_methods_are_checked_where_that_is_asked_for(
    ask: Any, signature: str, kind: str, wanted: str, was: str
) -> None:
    with pytest.raises(StatusError) as caught:
        ask(ExamplesEngine(), ExamplesQuery(TWO, signature), check_method=True)
    assert caught.value.message == (
        f"Expected {kind} signature method_name to be {wanted}. Was: {was}"
    )


def test_signatures_of_the_right_method_pass_the_check() -> None:
    engine = ExamplesEngine()
    assert classify(engine, ExamplesQuery(TWO), check_method=True).labels
    assert len(regress(engine, ExamplesQuery(TWO, "regress"), check_method=True).values) == 2
