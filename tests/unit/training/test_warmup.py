import numpy as np
import pytest

from rockstar_training.export import export, write_warmup
from rockstar_training.readback import open_saved_model
from rockstar_training.tensorflow_setup import PredictionLog, tf
from tests.unit.training import toys

GOLDEN = toys.golden(9)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    predict, variables = toys.plain_model()
    return export(predict, variables, toys.draft(), GOLDEN, tmp_path_factory.mktemp("models"))


def read(folder):
    file = folder / "assets.extra" / "tf_serving_warmup_requests"
    logs = [PredictionLog.FromString(r.numpy()) for r in tf.data.TFRecordDataset(str(file))]
    assert all(log.WhichOneof("log_type") == "predict_log" for log in logs)
    return [log.predict_log.request for log in logs]


@pytest.fixture(scope="module")
def requests(exported):
    return read(exported.folder)


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


def test_large_examples_make_fewer_batches(tmp_path):
    (tmp_path / "assets.extra").mkdir()
    photographs = np.zeros((8, 512, 512, 3), dtype=np.float32)
    write_warmup(tmp_path, toys.draft(), {"image": photographs})
    assert (tmp_path / "assets.extra" / "tf_serving_warmup_requests").stat().st_size < 8 * 2**20
    sizes = [len(tf.make_ndarray(r.inputs["image"])) for r in read(tmp_path)[:-1]]
    assert sizes == [1]
