import numpy as np
import pytest

from tests.unit.training import toys
from training import export as exporting
from training.errors import ExportError
from training.export import export
from training.publish import versions
from training.quantization import Quantization, judged, litert_answer

GOLDEN = toys.golden(20)


def quantized(models, score):
    predict, variables = toys.plain_model()
    quantization = Quantization("test_accuracy", score)
    return export(predict, variables, toys.draft(), GOLDEN, models, quantization=quantization)


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


def test_weights_take_a_quarter_of_the_room(exports):
    plain, small, _ = exports
    sizes = [(export.folder / "model.tflite").stat().st_size for export in (plain, small)]
    assert sizes[0] - sizes[1] > 0.7 * 4 * 4000


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
    plain, small, (judged_answer,) = exports
    published = litert_answer((small.folder / "model.tflite").read_bytes(), small.contract)
    np.testing.assert_allclose(published(GOLDEN.tensors), judged_answer, atol=1e-6)
    unquantised = litert_answer((plain.folder / "model.tflite").read_bytes(), plain.contract)
    assert np.abs(unquantised(GOLDEN.tensors) - judged_answer).max() > 1e-3


def test_a_loss_is_refused_with_both_figures(tmp_path):
    with pytest.raises(ExportError, match=r"falls from 0\.5000 to 0\.4960, by 0\.40 points"):
        quantized(tmp_path, lambda answer: 0.496)
    assert versions(tmp_path / "toy") == []


@pytest.mark.parametrize("after", [0.497, 0.5, 0.51])
def test_three_tenths_of_a_point_and_gains_are_accepted(after):
    contract = judged(toys.draft(), Quantization("test_accuracy", lambda _: after), np.asarray)
    assert contract.metrics["quantized_test_accuracy"] == after


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(ExportError, match="loses too much"):
        judged(toys.draft(), Quantization("test_accuracy", lambda _: float("nan")), np.asarray)


def test_another_file_than_the_judged_one_is_found(tmp_path, monkeypatch):
    litert, other = exporting._litert, toys.plain_model(seed=1)[0]
    models = [toys.plain_model()[0], other]

    def convert(folder, predict, contract, *, quantize):
        return litert(folder, models.pop(0), contract, quantize=quantize)

    monkeypatch.setattr(exporting, "_litert", convert)
    with pytest.raises(ExportError, match="the LiteRT file answers differ"):
        quantized(tmp_path, lambda answer: 0.5)
    assert versions(tmp_path / "toy") == []
