import json
import subprocess
import sys

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from rockstar_contract.contract import Contract
from rockstar_training import export as exporting
from rockstar_training import readback
from rockstar_training.errors import ExportError
from rockstar_training.export import Quantization, export, score_quantized, versions, write_warmup
from rockstar_training.prepared_data import GoldenSamples
from rockstar_training.readback import (
    litert_predictor,
    open_edge,
    open_saved_model,
    verify,
    verify_litert,
)
from rockstar_training.tensorflow_setup import PredictionLog, keras, tf
from tests.unit.training import toys

PUBLISH_ONE = """
import sys
from pathlib import Path
from tests.unit.training import toys
from rockstar_training.export import export
predict, variables = toys.plain_model()
print("ready", flush=True)
exported = export(predict, variables, toys.draft(), toys.golden(), Path(sys.argv[1]))
print(exported.contract.version)
"""


def require_refused(models, predict, variables, message, **options):
    """Require that the toy model is not published, and why."""
    with pytest.raises(ExportError, match=message):
        export(predict, variables, toys.draft(), toys.golden(), models, **options)
    assert versions(models / "toy") == []


def test_layout(exported):
    names = {str(path.relative_to(exported.folder)) for path in exported.folder.rglob("*")}
    assert {"saved_model.pb", "variables", "model.tflite", "manifest.json"} <= names
    assert "edge.tflite" in names
    extra = {"contract.json", "model_card.md", "tf_serving_warmup_requests"}
    assert {f"assets.extra/{name}" for name in extra} <= names
    assert not any("frozen" in name for name in names)
    assert exported.folder.parts[-2:] == ("toy", "1")


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


def test_further_documents_know_the_version(exported):
    assert (exported.folder / "assets.extra/model_card.md").read_text() == "# toy 1\n"


def test_a_model_whose_variables_are_not_restored_is_not_published(tmp_path):
    """TensorFlow Serving finds only variables that are saved as the functions read them."""
    weights = keras.Variable(np.ones((400, 10), np.float32))

    def predict(image):
        return tf.nn.softmax(tf.reshape(image, [-1, 400]) @ weights.value)

    require_refused(tmp_path, predict, [weights], "Could not find variable")
    export(predict, [weights.value], toys.draft(), toys.golden(), tmp_path)


@pytest.mark.parametrize(
    ("predict", "message"),
    [
        (lambda x: x[:, :10] * np.float32("nan"), "NaN or infinity"),
        (lambda x: tf.nn.softmax(x[:, :9]), "outputs of serving_default in the SavedModel are"),
        (lambda x: tf.nn.softmax(x[:1, :10]), r"for 3 examples the SavedModel answers \(1, 10\)"),
    ],
    ids=["nan", "another number of classes", "one batch size only"],
)
def test_a_model_with_other_outputs_is_not_published(tmp_path, predict, message):
    require_refused(tmp_path, lambda image: predict(tf.reshape(image, [-1, 400])), [], message)


def test_a_lost_training_step_in_the_litert_file_is_found(tmp_path, monkeypatch):
    other, _ = toys.plain_model(seed=1)
    frozen = exporting._frozen
    monkeypatch.setattr(exporting, "_frozen", lambda _, *args: frozen(other, *args))
    message = "the LiteRT file answers differ from the model's own"
    require_refused(tmp_path, *toys.plain_model(), message)


def test_a_damaged_litert_file_is_found(tmp_path, monkeypatch):
    def damage_and_verify(folder, *args, **options):
        file = folder / "model.tflite"
        file.write_bytes(file.read_bytes()[:200])
        verify_litert(folder, *args, **options)

    monkeypatch.setattr(readback, "verify_litert", damage_and_verify)
    require_refused(tmp_path, *toys.plain_model(), "the LiteRT file cannot be read back")


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
    check = verify if opener == "open_saved_model" else verify_litert
    golden = toys.golden() if check is verify else {"image": toys.golden().tensors}
    with pytest.raises(ExportError, match=message):
        check(exported.folder, toys.plain_model()[0], exported.contract, golden)


def test_another_contract_beside_the_model_is_found(exported):
    with pytest.raises(ExportError, match=r"contract\.json differs"):
        verify(exported.folder, toys.plain_model()[0], toys.draft("other"), toys.golden())


def test_training_on_other_tensors_than_servers_make_is_found(exported):
    golden = toys.golden()
    skewed = GoldenSamples(golden.raw, golden.tensors + np.float32(1e-6))
    with pytest.raises(ExportError, match="golden sample 0, as a user sends it, becomes another"):
        verify(exported.folder, toys.plain_model()[0], exported.contract, skewed)


@pytest.mark.slow
def test_two_processes_publish_two_versions_that_know_their_number(tmp_path):
    command = [sys.executable, "-c", PUBLISH_ONE, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        own = export(*toys.plain_model(), toys.draft(), toys.golden(), tmp_path)
        told = sorted([own.contract.version, int(other.stdout.readline())])
    assert told == versions(tmp_path / "toy") == [1, 2]
    for version in told:
        document = (tmp_path / "toy" / str(version) / "assets.extra/contract.json").read_bytes()
        assert Contract.from_json(document).version == version


GOLDEN = toys.golden(20)


def quantization(score, mode="dynamic"):
    return Quantization(mode, "test_accuracy", score, GOLDEN.tensors)


def quantized(models, score, mode="dynamic"):
    arguments = (*toys.plain_model(), toys.draft(), GOLDEN, models)
    return export(*arguments, quantization=quantization(score, mode))


@pytest.fixture(scope="module")
def exports(exported, tmp_path_factory):
    """The model as it is and quantized, and the predictions that were scored."""
    judged_answers = []

    def score(answer):
        judged_answers.append(answer(GOLDEN.tensors))
        return 0.4975

    return exported, quantized(tmp_path_factory.mktemp("models"), score), judged_answers


def read(export, name):
    return (export.folder / name).read_bytes()


@pytest.mark.parametrize("name", ["model.tflite", "edge.tflite"])
def test_weights_take_a_quarter_of_the_room(exports, name):
    plain, small, _ = exports
    assert len(read(plain, name)) - len(read(small, name)) > 0.7 * 4 * 4000


def test_the_saved_model_stays_as_it_is(exports):
    plain, small, _ = exports
    weights = "variables/variables.data-00000-of-00001"
    assert (small.folder / weights).stat().st_size >= 4 * 4000
    assert small.contract.metrics["test_accuracy"] == plain.contract.metrics["test_accuracy"]


def test_the_contract_has_the_score_of_the_quantized_file(exports):
    plain, small, _ = exports
    assert small.contract.metrics == {"test_accuracy": 0.5, "quantized_test_accuracy": 0.4975}
    assert "quantized_test_accuracy" not in plain.contract.metrics


def test_the_published_file_predicts_as_the_scored_one(exports):
    plain, small, (judged_model, judged_edge) = exports
    published = litert_predictor(read(small, "model.tflite"), small.contract)
    np.testing.assert_allclose(published(GOLDEN.tensors), judged_model, atol=1e-6)
    edge = open_edge(read(small, "edge.tflite")).predictor
    np.testing.assert_allclose(edge(GOLDEN.tensors), judged_edge, atol=1e-6)
    unquantised = litert_predictor(read(plain, "model.tflite"), plain.contract)
    for judged_answer in (judged_model, judged_edge):
        assert np.abs(unquantised(GOLDEN.tensors) - judged_answer).max() > 1e-3


def test_float16_takes_half_the_room(exports, tmp_path):
    plain, half = exports[0], quantized(tmp_path, lambda answer: 0.5, "float16")
    for name in ("model.tflite", "edge.tflite"):
        assert len(read(plain, name)) - len(read(half, name)) > 0.45 * 4 * 4000


def test_int8_computes_with_int8_between_float_inputs_and_outputs(exports, tmp_path):
    plain, small = exports[0], quantized(tmp_path, lambda answer: 0.5, "int8")
    assert len(read(plain, "edge.tflite")) - len(read(small, "edge.tflite")) > 0.7 * 4 * 4000
    interpreter = Interpreter(model_content=read(small, "edge.tflite"))
    interpreter.allocate_tensors()
    dtypes = [detail["dtype"] for detail in interpreter.get_tensor_details()]
    ends = [interpreter.get_input_details()[0], interpreter.get_output_details()[0]]
    assert [each["dtype"] for each in ends] == [np.float32, np.float32]
    assert dtypes.count(np.float32) == 2
    wanted = litert_predictor(read(plain, "model.tflite"), plain.contract)(GOLDEN.tensors)
    for answer in (
        litert_predictor(read(small, "model.tflite"), small.contract),
        open_edge(read(small, "edge.tflite")).predictor,
    ):
        np.testing.assert_allclose(answer(GOLDEN.tensors), wanted, atol=0.05)


def test_a_loss_is_refused_with_both_figures(tmp_path):
    message, loss = r"falls from 0\.5000 to 0\.4960, by 0\.40 points", quantization(lambda _: 0.496)
    require_refused(tmp_path, *toys.plain_model(), message, quantization=loss)


@pytest.mark.parametrize("after", [0.497, 0.5, 0.51])
def test_three_tenths_of_a_point_and_gains_are_accepted(after):
    files = (lambda _: after, lambda _: 0.6)
    contract = score_quantized(toys.draft(), quantization(lambda answer: answer(None)), files)
    assert contract.metrics["quantized_test_accuracy"] == after


@pytest.mark.parametrize("scores", [(0.5, 0.4), (0.4, 0.5), (0.5, float("nan"))])
def test_neither_file_may_lose_too_much(scores):
    files = [lambda _, score=score: score for score in scores]
    with pytest.raises(ExportError, match=r"loses too much .* try --quantize float16 or int8"):
        score_quantized(toys.draft(), quantization(lambda answer: answer(None)), files)


def test_another_file_than_the_judged_one_is_found(tmp_path, monkeypatch):
    litert, plain = exporting._litert, toys.plain_model()[0]
    models = [plain, plain, toys.plain_model(seed=1)[0]]

    def convert(folder, predict, *args):
        return litert(folder, models.pop(0), *args)

    monkeypatch.setattr(exporting, "_litert", convert)
    message, score = "the LiteRT file answers differ", quantization(lambda _: 0.5)
    require_refused(tmp_path, *toys.plain_model(), message, quantization=score)


def read_requests(folder):
    file = folder / "assets.extra" / "tf_serving_warmup_requests"
    logs = [PredictionLog.FromString(r.numpy()) for r in tf.data.TFRecordDataset(str(file))]
    assert all(log.WhichOneof("log_type") == "predict_log" for log in logs)
    return [log.predict_log.request for log in logs]


@pytest.fixture(scope="module")
def requests(exported):
    return read_requests(exported.folder)


def test_requests_name_the_model_and_signatures_that_both_files_have(requests):
    assert {request.model_spec.name for request in requests} == {"toy"}
    # They apply to any version.
    assert not any(request.model_spec.HasField("version") for request in requests)
    signatures = [request.model_spec.signature_name for request in requests]
    assert signatures == ["serving_default"] * 5 + ["contract"]


def test_batches_of_several_sizes_hold_preprocessed_samples(requests):
    batches = [tf.make_ndarray(request.inputs["image"]) for request in requests[:-1]]
    assert [len(batch) for batch in batches] == [1, 2, 4, 8, 16]
    for batch in batches:
        np.testing.assert_array_equal(batch, GOLDEN.tensors[: len(batch)])


def test_the_model_handles_every_request(exported, requests):
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
    sizes = [len(tf.make_ndarray(r.inputs["image"])) for r in read_requests(tmp_path)[:-1]]
    assert sizes == [1]
