"""Predict on an engine alone."""

import numpy as np
import pytest

from rockstar_serving.model_server.inference.predict import PredictQuery, predict
from tests.examples_engine import GivenEngine
from tests.fake_engine import DOUBLE
from tfs_api.signature import REGRESS_METHOD, Signature
from tfs_api.status import Code, StatusError

X = {"x": np.ones((1, 2), np.float32)}


def engine(method_name: str) -> GivenEngine:
    return GivenEngine(Signature(DOUBLE.inputs, DOUBLE.outputs, method_name), y=X["x"])


def test_a_signature_of_another_method_of_tensorflow_serving_will_do() -> None:
    query = PredictQuery(lambda _: X)
    assert predict(engine(REGRESS_METHOD), query, check_method=True).outputs["y"].tolist()


def test_methods_are_checked_where_that_is_asked_for() -> None:
    query = PredictQuery(lambda _: X)
    assert predict(engine("other"), query).signature_name == "serving_default"
    with pytest.raises(StatusError) as caught:
        predict(engine("other"), query, check_method=True)
    assert (caught.value.code, caught.value.message) == (
        Code.INTERNAL,
        "Expected prediction signature method_name to be one of {tensorflow/serving/predict, "
        "tensorflow/serving/classify, tensorflow/serving/regress}. Was: other",
    )
