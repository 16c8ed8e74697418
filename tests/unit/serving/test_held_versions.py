"""Versions that are published and not served, and the ways from and to them."""

import shutil

import pytest

from rockstar_contract.version_folders import held_versions, served_versions
from rockstar_serving.models_config import read_labels
from rockstar_serving.registry import (
    RegistryError,
    list_versions,
    promote,
    prune,
    restore,
    unpublish,
)
from tests.registries import add_version, written


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    for version in (1, 2, 3):
        add_version(folder, "cnn", version)
    return folder


def served(models) -> list[int]:
    return sorted(served_versions(models / "cnn"))


def test_going_back_holds_what_is_newer_whatever_the_policy(models):
    assert restore(models, "cnn").now == 2
    assert (served(models), [*held_versions(models / "cnn")]) == ([1, 2], [3])
    assert not (models / "models.config").exists()
    assert restore(models, "cnn").held == (2,)
    assert (served(models), [*held_versions(models / "cnn")]) == ([1], [2, 3])
    with pytest.raises(RegistryError, match="has only version 1, and none to go back to; it holds"):
        restore(models, "cnn")


def test_going_back_goes_to_what_was_stable_and_takes_labels_along(models):
    promote(models, "cnn", 1, "stable")
    promote(models, "cnn", 3, "stable")
    promote(models, "cnn", 2, "canary")
    done = restore(models, "cnn")
    assert (done.before, done.now, done.held, done.labels) == (3, 1, (2, 3), ("canary", "stable"))
    assert read_labels(models).labels("cnn") == {"canary": 1, "stable": 1}


def test_a_choice_of_versions_by_number_goes_back_too(models):
    promote(models, "cnn", 3, "stable")
    text = (models / "models.config").read_text()
    specific = "model_version_policy { specific { versions: 3 } }"
    all_versions = "model_version_policy {\n      all {\n      }\n    }"
    assert all_versions in text
    (models / "models.config").write_text(text.replace(all_versions, specific))
    restore(models, "cnn")
    config = written(models)["cnn"]
    assert [*config.model_version_policy.specific.versions] == [2]
    assert dict(config.version_labels) == {"stable": 2}


def test_a_damaged_version_is_not_gone_back_to(models):
    (models / "cnn" / "2" / "model.tflite").write_bytes(b"y")
    with pytest.raises(RegistryError, match="it cannot be gone back to"):
        restore(models, "cnn")
    assert served(models) == [1, 2, 3]


def test_promoting_a_held_version_serves_it(models):
    restore(models, "cnn")
    assert promote(models, "cnn", 3, "stable") is None
    assert served(models) == [1, 2, 3]
    assert read_labels(models).labels("cnn") == {"stable": 3}


def test_the_only_version_of_a_model_can_be_held_and_promoted(models):
    add_version(models, "mlp", 1)
    (models / "mlp" / "1").rename(models / "mlp" / "held-1")
    promote(models, "mlp", 1, "stable")
    assert sorted(served_versions(models / "mlp")) == [1]


def test_held_versions_are_listed(models):
    restore(models, "cnn")
    states = [(version.number, version.held) for version in list_versions(models, "cnn")]
    assert states == [(1, False), (2, False), (3, True)]


def test_a_removed_version_leaves_nothing_and_its_number_does_not_come_again(models):
    from rockstar_training.export import publication

    assert unpublish(models, "cnn", 3)
    assert served(models) == [1, 2]
    assert not [path for path in (models / "cnn").iterdir() if path.name.startswith(".removed")]
    with publication(models / "cnn") as incoming:
        assert incoming.version == 4
        (incoming.folder / "x").write_text("x")
    assert served(models) == [1, 2, 4]


def test_a_version_with_a_label_is_not_removed(models):
    promote(models, "cnn", 2, "stable")
    with pytest.raises(RegistryError, match="version 2 has the label stable: give it to another"):
        unpublish(models, "cnn", 2)


def test_held_and_last_versions_can_be_removed(models):
    restore(models, "cnn")
    assert unpublish(models, "cnn", 3)
    assert not held_versions(models / "cnn")
    assert unpublish(models, "cnn", 1)
    assert not unpublish(models, "cnn", 2)
    add_version(models, "cnn", 4)
    with pytest.raises(RegistryError, match="no version 9"):
        unpublish(models, "cnn", 9)


def test_prune_keeps_what_is_served_and_what_is_held_since(models):
    restore(models, "cnn")
    add_version(models, "cnn", 4)
    (models / "cnn" / "1").rename(models / "cnn" / "held-1")
    assert sorted(version.number for version in prune(models, "cnn", 1)) == [1, 2, 3]
    assert (served(models), [*held_versions(models / "cnn")]) == ([4], [])
    shutil.rmtree(models)


def test_publishing_held_takes_a_number_but_serves_nothing(models):
    from rockstar_training.export import publication, versions

    with publication(models / "cnn", held=True) as incoming:
        (incoming.folder / "x").write_text("x")
    assert (served(models), versions(models / "cnn")) == ([1, 2, 3], [1, 2, 3, 4])
    with publication(models / "cnn") as incoming:
        assert incoming.version == 5
        (incoming.folder / "x").write_text("x")
