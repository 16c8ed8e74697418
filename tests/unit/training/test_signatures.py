"""The signatures that take tf.Examples, checked as in TensorFlow Serving."""

import shutil

import msgspec
import numpy as np
import pytest

from rockstar_contract.contract import TargetStatistics
from rockstar_training import readback, signatures
from rockstar_training.errors import ExportError
from rockstar_training.export import export, versions
from rockstar_training.readback import open_saved_model, verify
from rockstar_training.tensorflow_setup import tf, write_fingerprint
from tests.unit.training import toys

GOLDEN = toys.golden()


@pytest.fixture(scope="module")
def regressor(tmp_path_factory):
    predict, variables = toys.one_number()
    draft = toys.draft()
    target = TargetStatistics(mean=0.0, std=1.0, minimum=-1.0, maximum=1.0)
    draft = msgspec.structs.replace(
        draft,
        task="regression",
        labels=(),
        target="y",
        statistics=msgspec.structs.replace(draft.statistics, label_share=(), target=target),
    )
    return export(predict, variables, draft, GOLDEN, tmp_path_factory.mktemp("regressor"))


def served(folder, signature, inputs):
    """Run a signature in a session by tensor names, as a server does."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(folder))
        definition = loaded.signature_def[signature]
        feeds = {definition.inputs[name].name: value for name, value in inputs.items()}
        fetches = {name: tensor.name for name, tensor in definition.outputs.items()}
        return definition.method_name, session.run(fetches, feeds)


def examples(tensors):
    floats = [tf.train.FloatList(value=tensor.ravel()) for tensor in tensors]
    return [
        tf.train.Example(
            features=tf.train.Features(feature={"image": tf.train.Feature(float_list=values)})
        ).SerializeToString()
        for values in floats
    ]


def test_classify_returns_the_labels_with_the_scores_of_serving_default(exported):
    method, answer = served(exported.folder, "classify", {"inputs": examples(GOLDEN.tensors)})
    assert method == "tensorflow/serving/classify"
    assert set(answer) == {"classes", "scores"}
    assert answer["classes"].tolist() == [[str(digit).encode() for digit in range(10)]] * 5
    method, by_tensor = served(exported.folder, "serving_default", {"image": GOLDEN.tensors})
    assert method == "tensorflow/serving/predict"
    np.testing.assert_allclose(answer["scores"], by_tensor["probabilities"], atol=1e-6)


def test_regress_returns_the_value_of_serving_default(regressor):
    method, answer = served(regressor.folder, "regress", {"inputs": examples(GOLDEN.tensors)})
    assert method == "tensorflow/serving/regress"
    assert answer["outputs"].shape == (5, 1)
    _, by_tensor = served(regressor.folder, "serving_default", {"image": GOLDEN.tensors})
    np.testing.assert_allclose(answer["outputs"], by_tensor["prediction"], atol=1e-5)


def test_each_task_has_its_signature_and_no_other(exported, regressor):
    for version, own in ((exported, "classify"), (regressor, "regress")):
        found = open_saved_model(version.folder)[0].keys()
        assert found == {"serving_default", "contract", own}


def test_no_example_gives_no_result(exported):
    _, answer = served(exported.folder, "classify", {"inputs": []})
    assert answer["classes"].shape == answer["scores"].shape == (0, 10)


def test_the_fingerprint_is_that_of_the_renamed_methods(exported, tmp_path):
    copy = str(shutil.copytree(exported.folder, tmp_path / "copy"))
    written = tf.saved_model.experimental.read_fingerprint(copy)
    write_fingerprint(copy)
    fresh = tf.saved_model.experimental.read_fingerprint(copy)
    assert written.saved_model_checksum == fresh.saved_model_checksum
    assert written.signature_def_hash == fresh.signature_def_hash


def test_methods_that_were_left_as_saved_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(signatures, "name_methods", lambda folder, contract: None)
    predict, variables = toys.plain_model()
    with pytest.raises(ExportError, match=r"the methods of the SavedModel are .*classify"):
        export(predict, variables, toys.draft(), GOLDEN, tmp_path)
    assert versions(tmp_path / "toy") == []


@pytest.mark.parametrize(
    ("forge", "message"),
    [
        (lambda outputs: {**outputs, "classes": outputs["classes"][:, ::-1]}, "not the labels"),
        (
            lambda outputs: {**outputs, "scores": outputs["scores"] + np.float32(0.1)},
            "classify in the SavedModel answers differ from the model's own by 0.1",
        ),
    ],
)
def test_different_results_by_example_and_by_tensor_are_found(
    exported, monkeypatch, forge, message
):
    def forged(folder):
        signatures, run = open_saved_model(folder)

        def answer(signature, inputs):
            outputs = run(signature, inputs)
            return forge(outputs) if signature == "classify" else outputs

        return signatures, answer

    monkeypatch.setattr(readback, "open_saved_model", forged)
    with pytest.raises(ExportError, match=message):
        verify(exported.folder, toys.plain_model()[0], exported.contract, GOLDEN)
