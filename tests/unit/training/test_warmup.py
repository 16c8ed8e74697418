import numpy as np
import pytest

from tests.unit.training import toys
from training.export import export
from training.opening import open_saved_model
from training.tensorflow_setup import PredictionLog, tf

GOLDEN = toys.golden(9)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    predict, variables = toys.plain_model()
    return export(predict, variables, toys.draft(), GOLDEN, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def requests(exported):
    file = exported.folder / "assets.extra" / "tf_serving_warmup_requests"
    logs = [PredictionLog.FromString(r.numpy()) for r in tf.data.TFRecordDataset(str(file))]
    assert all(log.WhichOneof("log_type") == "predict_log" for log in logs)
    return [log.predict_log.request for log in logs]


def test_requests_name_the_model_and_signatures_that_both_files_have(requests):
    assert {request.model_spec.name for request in requests} == {"toy"}
    # Of whatever version they come with.
    assert not any(request.model_spec.HasField("version") for request in requests)
    signatures = [request.model_spec.signature_name for request in requests]
    assert signatures == ["serving_default"] * 4 + ["contract"]


def test_batches_of_several_sizes_hold_preprocessed_samples(requests):
    batches = [tf.make_ndarray(request.inputs["image"]) for request in requests[:-1]]
    assert [len(batch) for batch in batches] == [1, 2, 4, 8]
    for batch in batches:
        np.testing.assert_array_equal(batch, GOLDEN.tensors[: len(batch)])


def test_the_model_answers_every_request(exported, requests):
    _, run = open_saved_model(exported.folder)
    for request in requests:
        feeds = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        (answer,) = run(request.model_spec.signature_name, feeds).values()
        assert len(answer) == len(next(iter(feeds.values())))
