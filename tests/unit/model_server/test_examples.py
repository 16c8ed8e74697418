"""Classify, Regress and MultiInference on a bare engine, and examples in requests."""

import time
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rockstar_serving.model_server.deadline import Deadline, DeadlinePassedError
from rockstar_serving.model_server.examples import (
    ExamplesQuery,
    MultiInferenceQuery,
    classify,
    examples_of,
    multi_inference,
    regress,
)
from tests.examples_engine import (
    CLASSES,
    EXAMPLES,
    REGRESSION,
    SCORES,
    ExamplesEngine,
    GivenEngine,
    example,
    inference_task,
)
from tests.fake_engine import DOUBLE, SUM, refusal, spec
from tfs_api.messages.inference_pb2 import ExampleListWithContext, Input
from tfs_api.signature import CLASSIFY_METHOD, REGRESS_METHOD, Signature
from tfs_api.status import Code, StatusError

TWO = [example(x=1.5), example(x=-2.0)]


def test_regress_with_a_number_each_and_no_axis_for_it() -> None:
    signature = Signature(EXAMPLES, {"outputs": spec(np.float32, -1)})
    engine = GivenEngine(signature, outputs=np.array([1, 2], np.float32))
    assert regress(engine, ExamplesQuery(TWO)).values.tolist() == [1, 2]


@pytest.mark.parametrize("ask", [classify, regress])
def test_nothing_runs_for_a_disconnected_caller(ask: Any) -> None:
    engine = ExamplesEngine()
    name = {classify: "", regress: "regress"}[ask]
    with pytest.raises(DeadlinePassedError):
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
    code, text = refusal(ask, GivenEngine(signature), ExamplesQuery(TWO))
    assert code == Code.INVALID_ARGUMENT
    assert text.startswith(message)


def strings(*rows: Any) -> Any:
    return np.array(rows, object)


def zeros(*shape: int) -> Any:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"scores": zeros(2)}, "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        (
            {"classes": strings([[b"a"]], [[b"b"]])},
            "Expected Tensor shape: [batch_size num_classes] but got [2,1,1]",
        ),
        ({"scores": np.zeros((2, 3))}, "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
        ({"classes": zeros(2, 3)}, "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
        ({"scores": zeros(3, 3)}, "Expected scores output batch size of 2. Got: 3"),
        ({"classes": strings([b"a"])}, "Expected classes output batch size of 2. Got: 1"),
        (
            {"classes": strings([b"a"], [b"b"]), "scores": zeros(2, 3)},
            "Tensors class and score should match in dim_size(1). Got 1 vs. 3",
        ),
    ],
)
def test_outputs_that_are_no_classification(outputs: dict[str, Any], message: str) -> None:
    signature = Signature(EXAMPLES, {name: (CLASSES | SCORES)[name] for name in outputs})
    engine = GivenEngine(signature, **outputs)
    assert refusal(classify, engine, ExamplesQuery(TWO)) == (Code.INVALID_ARGUMENT, message)


EITHER = "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got"


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 2), np.float32), f"{EITHER} [2,2]"),
        (np.float32(1), f"{EITHER} []"),
        (np.zeros(3, np.float32), "Input batch size did not match output batch size: 2 vs. 3"),
        (np.zeros((2, 1)), "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE"),
    ],
)
def test_outputs_that_are_no_regression(array: Any, message: str) -> None:
    engine = GivenEngine(Signature(EXAMPLES, REGRESSION), outputs=np.asarray(array))
    assert refusal(regress, engine, ExamplesQuery(TWO)) == (Code.INVALID_ARGUMENT, message)


CLASSIFY = inference_task("m", CLASSIFY_METHOD)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (
            [CLASSIFY, inference_task("", REGRESS_METHOD)],
            "Found ModelSpec with an empty model name.",
        ),
        (
            [CLASSIFY, inference_task("m", CLASSIFY_METHOD, "serving_default")],
            "Duplicate evaluation of signature: serving_default",
        ),
        (
            [CLASSIFY, inference_task("m", CLASSIFY_METHOD, "double")],
            "No classification inputs found in SignatureDef: ",
        ),
    ],
)
def test_tasks_that_do_not_go_together(tasks: Any, message: str) -> None:
    engine = ExamplesEngine()
    code, text = refusal(multi_inference, engine, MultiInferenceQuery(tasks, TWO))
    assert code == Code.INVALID_ARGUMENT
    assert text.startswith(message)
    assert engine.runs == []


def test_task_methods_are_checked_on_request() -> None:
    task = inference_task("m", REGRESS_METHOD, "regress_by_predict")
    query = MultiInferenceQuery([CLASSIFY, task], TWO)
    assert len(multi_inference(ExamplesEngine(), query)) == 2
    with pytest.raises(StatusError, match="Expected regression signature method_name to be"):
        multi_inference(ExamplesEngine(), query, check_method=True)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own
    import tensorflow as tf

FEATURES = st.dictionaries(
    st.sampled_from("abcd"), st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=3)
)


def parsed(serialized: bytes) -> dict[str, list[float]]:
    features = tf.train.Example.FromString(serialized).features.feature
    return {name: list(feature.float_list.value) for name, feature in features.items()}


@settings(max_examples=50)
@given(context=FEATURES, features=FEATURES)
def test_every_example_has_the_context_but_its_own_features_win(context, features):
    listed = ExampleListWithContext(
        examples=[example(**features), example()], context=example(**context)
    )
    first, second = examples_of(Input(example_list_with_context=listed))
    assert parsed(first) == {**context, **features}
    assert parsed(second) == context
