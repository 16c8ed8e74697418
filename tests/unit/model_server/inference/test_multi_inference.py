"""MultiInference on an engine alone."""

from typing import Any

import pytest

from rockstar_serving.model_server.inference.classify import Classification
from rockstar_serving.model_server.inference.multi_inference import (
    MultiInferenceQuery,
    Task,
    multi_inference,
)
from rockstar_serving.model_server.inference.regress import Regression
from tests.examples_engine import ExamplesEngine, example
from tfs_api.signature import CLASSIFY_METHOD, PREDICT_METHOD, REGRESS_METHOD
from tfs_api.status import Code, StatusError

TWO = [example(x=1.5), example(x=-2.0)]
CLASSIFY, REGRESS = Task("m", CLASSIFY_METHOD), Task("m", REGRESS_METHOD, "regress")


def test_each_task_is_answered_in_its_place() -> None:
    first, second = multi_inference(ExamplesEngine(), MultiInferenceQuery([REGRESS, CLASSIFY], TWO))
    assert isinstance(first, Regression)
    assert (first.values.tolist(), first.signature_name) == ([1.5, -2], "regress")
    assert isinstance(second, Classification)
    assert second.labels == [["cold", "warm"]] * 2
    assert second.scores.tolist() == [[-1.5, 1.5], [2, -2]]
    assert second.signature_name == "serving_default"


@pytest.mark.parametrize(
    ("tasks", "code", "message"),
    [
        (
            [CLASSIFY, Task("", REGRESS_METHOD, "regress")],
            Code.INVALID_ARGUMENT,
            "Found ModelSpec with an empty model name.",
        ),
        (
            [CLASSIFY, Task("n", REGRESS_METHOD, "regress")],
            Code.INVALID_ARGUMENT,
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            [REGRESS, REGRESS],
            Code.INVALID_ARGUMENT,
            "Duplicate evaluation of signature: regress",
        ),
        (
            [CLASSIFY, Task("m", CLASSIFY_METHOD, "serving_default")],
            Code.INVALID_ARGUMENT,
            "Duplicate evaluation of signature: serving_default",
        ),
        (
            [CLASSIFY, Task("m", REGRESS_METHOD, "s")],
            Code.INVALID_ARGUMENT,
            "Requested signature not found in model graph: s",
        ),
        (
            [Task("m", PREDICT_METHOD)],
            Code.UNIMPLEMENTED,
            f"Unsupported signature method_name: {PREDICT_METHOD}",
        ),
        (
            [CLASSIFY, Task("m", CLASSIFY_METHOD, "double")],
            Code.INVALID_ARGUMENT,
            "No classification inputs found in SignatureDef: ",
        ),
    ],
)
def test_tasks_that_do_not_go_together(tasks: Any, code: Code, message: str) -> None:
    engine = ExamplesEngine()
    with pytest.raises(StatusError) as caught:
        multi_inference(engine, MultiInferenceQuery(tasks, TWO))
    assert caught.value.code == code
    assert caught.value.message.startswith(message)
    assert engine.runs == []


def test_no_examples() -> None:
    with pytest.raises(StatusError, match=r"^Input is empty\.$"):
        multi_inference(ExamplesEngine(), MultiInferenceQuery([CLASSIFY], []))


def test_methods_are_checked_where_that_is_asked_for() -> None:
    task = Task("m", REGRESS_METHOD, "regress_by_predict")
    query = MultiInferenceQuery([CLASSIFY, task], TWO)
    assert len(multi_inference(ExamplesEngine(), query)) == 2
    with pytest.raises(StatusError, match="Expected regression signature method_name to be"):
        multi_inference(ExamplesEngine(), query, check_method=True)
