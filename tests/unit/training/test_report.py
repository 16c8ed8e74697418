import re
from typing import get_args

import numpy as np
import pytest

from rockstar_contract.preprocessing import Step
from rockstar_training.networks import LayerSize
from rockstar_training.progress import Epoch
from rockstar_training.report import card
from rockstar_training.report.card import metrics_in_words
from rockstar_training.report.classification import Classified, confusion_section
from rockstar_training.report.page import ReportData, overfitting, write_report
from tests.contracts import make_contract


def test_the_card_has_a_sentence_for_every_preprocessing_step():
    assert card._STEPS.keys() == {step.__name__ for step in get_args(Step)}


def test_cross_validation_in_the_report_is_a_mean_and_its_spread():
    metrics = {"test_accuracy": 0.9, "test_f1": 0.85, "cv_f1": 0.8, "cv_f1_std": 0.05}
    assert metrics_in_words(metrics) == [
        ("F1 (mean over the classes)", "0.85"),
        ("Cross-validation, F1", "0.8 ± 0.05"),
    ]


def epochs(losses, validation):
    """A history with these training and validation losses."""
    return [
        Epoch(number, len(losses), loss, val_loss=val)
        for number, (loss, val) in enumerate(zip(losses, validation, strict=True), start=1)
    ]


@pytest.mark.parametrize(
    ("losses", "validation", "sentence"),
    [
        (
            [3, 2, 1],
            [3, 2, 4],
            "The network overfits: .* lowest with 2 after epoch 2, and rose to 4",
        ),
        ([3, 2, 1], [3, 2, 2.1], "No overfitting"),
        ([3, 2, 1], [3, 2, 1], "no overfitting, and more epochs might still improve"),
        # The training loss did not fall, either: it is noise.
        ([3, 2, 4], [3, 2, 4], "No overfitting"),
        ([3, 2, 1], [None, None, None], "Without validation data"),
        ([1], [float("nan")], "Without validation data"),
    ],
)
def test_overfitting_is_stated(losses, validation, sentence):
    assert re.search(sentence, overfitting(epochs(losses, validation)))


def test_a_cell_of_the_confusion_matrix_shows_its_most_confident_examples():
    truth = np.array([0, 0, 1, 1, 1])
    first = np.array([0.9, 0.2, 0.6, 0.8, 0.1])
    shown = []

    def image(row):
        shown.append(row)
        return np.zeros((4, 4, 1), np.uint8)

    outcome = Classified(truth, np.stack([first, 1 - first], axis=1).astype(np.float32), image)
    rows = confusion_section(outcome, ("cat", "dog")).matrix
    assert [[cell.count for cell in cells] for _, cells in rows] == [[1, 1], [2, 1]]
    assert rows[1][1][0].title == "dog predicted as cat: 2 of 3"
    assert [tile.alt for tile in rows[1][1][0].tiles] == [
        "Held-out example 3, 0.800",
        "Held-out example 2, 0.600",
    ]
    assert sorted(shown) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("classes", [16, 1000])
def test_a_report_of_photographs_stays_below_two_megabytes(tmp_path, classes):
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    truth = np.repeat(np.arange(classes), 2)
    probabilities = np.tile(np.eye(classes, dtype=np.float32), (2, 1))
    losses = np.geomspace(3, 0.01, 10_000)
    data = ReportData(
        contract=make_contract(labels=tuple(map(str, range(classes)))),
        config={"model": "mlp", "data": "folder:photos"},
        outcome=Classified(truth, probabilities, lambda row: noise),
        history=epochs(losses, losses),
        kernel=np.zeros((4, 4), np.float32),
        layers=[LayerSize("dense", "Dense", (classes,), 10, 10)],
        earlier=[],
        importance=[],
        notes=[],
    )
    write_report(data, tmp_path)
    assert (tmp_path / "report.html").stat().st_size < 2_000_000


def test_examples_that_are_no_images_have_no_cells():
    outcome = Classified(np.array([0, 1]), np.eye(2, dtype=np.float32))
    assert confusion_section(outcome, ("a", "b")).matrix == ()
