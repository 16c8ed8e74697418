from typing import get_args

from rockstar_contract.preprocessing import Step
from rockstar_training.report import card
from rockstar_training.report.card import metrics_in_words


def test_the_card_has_a_sentence_for_every_preprocessing_step():
    assert card._STEPS.keys() == {step.__name__ for step in get_args(Step)}


def test_cross_validation_in_the_report_is_a_mean_and_its_spread():
    metrics = {"test_accuracy": 0.9, "test_f1": 0.85, "cv_f1": 0.8, "cv_f1_std": 0.05}
    assert metrics_in_words(metrics) == [
        ("F1 (mean over the classes)", "0.85"),
        ("Cross-validation, F1", "0.8 ± 0.05"),
    ]
