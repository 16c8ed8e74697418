import json
import subprocess
import sys

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from rockstar_contract.contract import Contract
from rockstar_contract.manifest import check_manifest
from rockstar_training import export as exporting
from rockstar_training import readback
from rockstar_training.errors import ExportError
from rockstar_training.export import export, versions
from rockstar_training.prepared import GoldenSamples
from rockstar_training.readback import verify
from rockstar_training.tensorflow_setup import keras, tf
from tests.unit.training import toys

PUBLISH_ONE = """
import sys
from pathlib import Path
from tests.unit.training import toys
from rockstar_training.export import export
predict, variables = toys.plain_model()
exported = export(predict, variables, toys.draft(), toys.golden(), Path(sys.argv[1]))
print(exported.contract.version)
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    predict, variables = toys.plain_model()
    models = tmp_path_factory.mktemp("models")
    return export(
        predict, variables, toys.draft(), toys.golden(), models, documents=toys.model_card
    )


def test_layout(exported):
    names = {str(path.relative_to(exported.folder)) for path in exported.folder.rglob("*")}
    assert {"saved_model.pb", "variables", "model.tflite", "manifest.json"} <= names
    assert "edge.tflite" in names
    extra = {"contract.json", "model_card.md", "tf_serving_warmup_requests"}
    assert {f"assets.extra/{name}" for name in extra} <= names
    assert not any("frozen" in name for name in names)
    assert exported.folder.parts[-2:] == ("toy", "1")


def test_saved_model_signatures(exported):
    loaded = tf.saved_model.load(str(exported.folder))
    assert set(loaded.signatures) == {"serving_default", "contract", "classify"}
    predict, contract = loaded.signatures["serving_default"], loaded.signatures["contract"]
    image = predict.structured_input_signature[1]["image"]
    assert (image.dtype, image.shape.as_list()) == (tf.float32, [None, 20, 20, 1])
    probabilities = predict.structured_outputs["probabilities"]
    assert (probabilities.dtype, probabilities.shape.as_list()) == (tf.float32, [None, 10])
    query = contract.structured_input_signature[1]["query"]
    assert (query.dtype, query.shape.as_list()) == (tf.int32, [None])
    assert contract.structured_outputs["contract"].dtype == tf.string


def test_litert_signatures(exported):
    interpreter = Interpreter(model_path=str(exported.folder / "model.tflite"))
    assert interpreter.get_signature_list() == {
        "contract": {"inputs": ["query"], "outputs": ["contract"]},
        "serving_default": {"inputs": ["image"], "outputs": ["probabilities"]},
    }
    image = interpreter.get_signature_runner("serving_default").get_input_details()["image"]
    assert image["shape_signature"].tolist() == [-1, 20, 20, 1]


def test_every_copy_of_the_contract_is_the_same_and_knows_its_version(exported):
    document = (exported.folder / "assets.extra/contract.json").read_text()
    assert Contract.from_json(document) == exported.contract
    assert json.loads(document)["version"] == 1
    query = np.zeros(3, dtype=np.int32)
    loaded = tf.saved_model.load(str(exported.folder))
    answers = loaded.signatures["contract"](query=tf.constant(query))["contract"].numpy()
    assert answers.tolist() == [document.encode()] * 3
    interpreter = Interpreter(model_path=str(exported.folder / "model.tflite"))
    answers = interpreter.get_signature_runner("contract")(query=query)["contract"]
    assert answers.tolist() == [document.encode()] * 3


def test_the_manifest_covers_everything(exported):
    names = {
        path.relative_to(exported.folder).as_posix()
        for path in exported.folder.rglob("*")
        if path.is_file()
    }
    assert check_manifest(exported.folder).files.keys() == names - {"manifest.json"}


def test_further_documents_know_the_version(exported):
    assert (exported.folder / "assets.extra/model_card.md").read_text() == "# toy 1\n"


def test_a_model_whose_variables_are_not_restored_is_not_published(tmp_path):
    """TensorFlow Serving finds only variables that are saved as what the functions read."""
    weights = keras.Variable(np.ones((400, 10), np.float32))

    def predict(image):
        return tf.nn.softmax(tf.reshape(image, [-1, 400]) @ weights.value)

    with pytest.raises(ExportError, match="Could not find variable"):
        export(predict, [weights], toys.draft(), toys.golden(), tmp_path)
    assert versions(tmp_path / "toy") == []
    export(predict, [weights.value], toys.draft(), toys.golden(), tmp_path)


def test_a_model_that_answers_nan_is_not_published(tmp_path):
    def predict(image):
        return tf.reshape(image, [-1, 400])[:, :10] * np.float32("nan")

    with pytest.raises(ExportError, match="NaN or infinity"):
        export(predict, [], toys.draft(), toys.golden(), tmp_path)
    assert versions(tmp_path / "toy") == []


def test_a_model_of_another_number_of_classes_is_not_published(tmp_path):
    def predict(image):
        return tf.nn.softmax(tf.reshape(image, [-1, 400])[:, :9])

    with pytest.raises(ExportError, match="outputs of serving_default in the SavedModel are"):
        export(predict, [], toys.draft(), toys.golden(), tmp_path)
    assert versions(tmp_path / "toy") == []


def test_a_model_for_one_batch_size_only_is_not_published(tmp_path):
    def predict(image):
        return tf.nn.softmax(tf.reshape(image, [-1, 400])[:1, :10])

    with pytest.raises(ExportError, match=r"for 3 examples the SavedModel answers \(1, 10\)"):
        export(predict, [], toys.draft(), toys.golden(), tmp_path)
    assert versions(tmp_path / "toy") == []


def test_a_lost_training_step_in_the_litert_file_is_found(exported, tmp_path, monkeypatch):
    other, _ = toys.plain_model(seed=1)
    frozen = exporting._frozen
    monkeypatch.setattr(exporting, "_frozen", lambda _, *args: frozen(other, *args))
    predict, variables = toys.plain_model()
    with pytest.raises(ExportError, match="the LiteRT file answers differ from the model's own"):
        export(predict, variables, toys.draft(), toys.golden(), tmp_path)
    assert versions(tmp_path / "toy") == []


def test_a_damaged_litert_file_is_found(tmp_path, monkeypatch):
    def damage_and_verify(folder, *args, **options):
        file = folder / "model.tflite"
        file.write_bytes(file.read_bytes()[:200])
        verify(folder, *args, **options)

    monkeypatch.setattr(exporting, "verify", damage_and_verify)
    predict, variables = toys.plain_model()
    with pytest.raises(ExportError, match="the LiteRT file cannot be read back"):
        export(predict, variables, toys.draft(), toys.golden(), tmp_path)
    assert versions(tmp_path / "toy") == []


@pytest.mark.parametrize(
    ("opener", "message"),
    [
        ("open_saved_model", "the contract that the SavedModel answers is not the one"),
        ("open_litert", "the contract that the LiteRT file answers is not the one"),
    ],
)
def test_another_contract_in_either_file_is_found(exported, monkeypatch, opener, message):
    opened = getattr(readback, opener)

    def forged(file):
        signatures, run = opened(file)

        def answer(signature, inputs):
            answers = run(signature, inputs)
            return {**answers, "contract": np.array([b"{}"] * 2)} if "query" in inputs else answers

        return signatures, answer

    monkeypatch.setattr(readback, opener, forged)
    with pytest.raises(ExportError, match=message):
        verify(exported.folder, toys.plain_model()[0], exported.contract, toys.golden())


def test_another_contract_beside_the_model_is_found(exported):
    with pytest.raises(ExportError, match=r"contract\.json differs"):
        verify(exported.folder, toys.plain_model()[0], toys.draft("other"), toys.golden())


def test_training_on_other_tensors_than_servers_make_is_found(exported):
    golden = toys.golden()
    skewed = GoldenSamples(golden.raw, golden.tensors + np.float32(1e-6))
    with pytest.raises(ExportError, match="golden sample 0, as a user sends it, becomes another"):
        verify(exported.folder, toys.plain_model()[0], exported.contract, skewed)


def test_two_processes_publish_two_versions_that_know_their_number(tmp_path):
    command = [sys.executable, "-c", PUBLISH_ONE, str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = sorted(int(process.communicate(timeout=120)[0]) for process in both)
    assert told == versions(tmp_path / "toy") == [1, 2]
    for version in told:
        document = (tmp_path / "toy" / str(version) / "assets.extra/contract.json").read_bytes()
        assert Contract.from_json(document).version == version
