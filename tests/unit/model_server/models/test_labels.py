"""Which versions labels may stand for: the rules of TensorFlow Serving."""

from pathlib import Path

import pytest

from rockstar_serving.model_server.models.config import ModelConfig
from rockstar_serving.model_server.models.labels import Labels
from tfs_api.status import Code, StatusError


def assign(labels: Labels, *available: int, **versions: int) -> None:
    configs = [ModelConfig("m", Path("/m"), labels=versions)]
    labels.assign(configs, lambda model: available if model == "m" else ())


def refused(labels: Labels, *available: int, **versions: int) -> bool:
    with pytest.raises(StatusError) as caught:
        assign(labels, *available, **versions)
    assert caught.value.code == Code.FAILED_PRECONDITION
    assert caught.value.message == (
        "Request to assign label to version 2 of model m, which is not currently available for "
        "inference"
    )
    return True


def test_labels_stand_for_available_versions() -> None:
    labels = Labels(allow_unavailable=False)
    assign(labels, 1, 2, stable=1, canary=2)
    assert (labels.version("m", "stable"), labels.version("m", "canary")) == (1, 2)
    assign(labels, 1, 2, stable=2)
    assert labels.version("m", "stable") == 2
    for model, label in (("m", "canary"), ("other", "stable")):
        with pytest.raises(StatusError) as caught:
            labels.version(model, label)
        assert caught.value.code == Code.INVALID_ARGUMENT
        assert caught.value.message == f"Unrecognized servable version label: {label}"


def test_all_labels_change_or_none() -> None:
    labels = Labels(allow_unavailable=False)
    assign(labels, 1, stable=1)
    assert refused(labels, 1, canary=1, stable=2)
    assert labels.version("m", "stable") == 1
    with pytest.raises(StatusError):
        labels.version("m", "canary")


def test_with_the_flag_a_new_label_may_stand_for_any_version() -> None:
    labels = Labels(allow_unavailable=True)
    assign(labels, stable=1)
    assign(labels, stable=1, canary=2)
    assert labels.version("m", "canary") == 2


def test_even_with_the_flag_a_label_does_not_move_to_what_cannot_answer() -> None:
    labels = Labels(allow_unavailable=True)
    assign(labels, stable=1)
    assert refused(labels, 1, stable=2)
    assign(labels, 2, stable=2)
    assert labels.version("m", "stable") == 2
