import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from rockstar_training import export as exporting
from rockstar_training.errors import ExportError
from rockstar_training.export import Quantization, export, score_quantized, versions
from rockstar_training.readback import litert_answer, open_edge
from tests.unit.training import toys

GOLDEN = toys.golden(20)


def quantization(score, mode="dynamic"):
    return Quantization(mode, "test_accuracy", score, GOLDEN.tensors)


def quantized(models, score, mode="dynamic"):
    predict, variables = toys.plain_model()
    return export(
        predict, variables, toys.draft(), GOLDEN, models, quantization=quantization(score, mode)
    )


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """The same model as it is, quantised, and what was judged."""
    models = tmp_path_factory.mktemp("models")
    predict, variables = toys.plain_model()
    plain = export(predict, variables, toys.draft(), GOLDEN, models)
    judged_answers = []

    def score(answer):
        judged_answers.append(answer(GOLDEN.tensors))
        return 0.4975

    return plain, quantized(models, score), judged_answers


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


def test_the_contract_tells_what_the_quantised_file_is_worth(exports):
    plain, small, _ = exports
    assert small.contract.metrics == {"test_accuracy": 0.5, "quantized_test_accuracy": 0.4975}
    assert "quantized_test_accuracy" not in plain.contract.metrics


def test_what_is_published_answers_as_what_was_judged(exports):
    plain, small, (judged_model, judged_edge) = exports
    published = litert_answer(read(small, "model.tflite"), small.contract)
    np.testing.assert_allclose(published(GOLDEN.tensors), judged_model, atol=1e-6)
    edge = open_edge(read(small, "edge.tflite")).answer
    np.testing.assert_allclose(edge(GOLDEN.tensors), judged_edge, atol=1e-6)
    unquantised = litert_answer(read(plain, "model.tflite"), plain.contract)
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
    wanted = litert_answer(read(plain, "model.tflite"), plain.contract)(GOLDEN.tensors)
    for answer in (
        litert_answer(read(small, "model.tflite"), small.contract),
        open_edge(read(small, "edge.tflite")).answer,
    ):
        np.testing.assert_allclose(answer(GOLDEN.tensors), wanted, atol=0.05)


def test_a_loss_is_refused_with_both_figures(tmp_path):
    with pytest.raises(ExportError, match=r"falls from 0\.5000 to 0\.4960, by 0\.40 points"):
        quantized(tmp_path, lambda answer: 0.496)
    assert versions(tmp_path / "toy") == []


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
    with pytest.raises(ExportError, match="the LiteRT file answers differ"):
        quantized(tmp_path, lambda answer: 0.5)
    assert versions(tmp_path / "toy") == []
