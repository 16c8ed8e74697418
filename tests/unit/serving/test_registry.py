"""Versions and their labels: list, promote, roll back, hold and remove."""

import pytest

from rockstar_contract.version_folders import held_versions, served_versions
from rockstar_serving.model_folder import ModelFolderError, read_labels
from rockstar_serving.registry import (
    list_versions,
    promote,
    prune,
    restore,
    rollback,
    unpublish,
)
from tests.registries import add_version, written


@pytest.fixture
def models(tmp_path):
    for version in (1, 2, 3, 10):
        add_version(tmp_path, "cnn", version)
    add_version(tmp_path, "mlp", 1, metrics={"test_accuracy": 0.9})
    return tmp_path


def numbers(models, model="cnn"):
    return [version.number for version in list_versions(models, model)]


def stable(models):
    return read_labels(models).labels("cnn").get("stable")


def test_a_version_without_a_usable_contract_is_listed_with_its_problem(models):
    (models / "cnn" / "1" / "assets.extra" / "contract.json").unlink()
    (models / "cnn" / "2" / "assets.extra" / "contract.json").write_text("{}")
    first, second, third, _ = list_versions(models, "cnn")
    assert (first.contract, first.problem) == (None, "has no assets.extra/contract.json")
    assert second.problem.startswith("assets.extra/contract.json cannot be read: ")
    assert third.problem == ""


def test_a_label_moves_and_goes_back_step_by_step(models):
    assert promote(models, "cnn", 1, "stable") is None
    assert promote(models, "cnn", 2, "stable") == 1
    assert promote(models, "cnn", 3, "stable") == 2
    assert rollback(models, "cnn", "stable") == (3, 2)
    assert rollback(models, "cnn", "stable") == (2, 1)
    assert stable(models) == 1
    with pytest.raises(ModelFolderError, match=r"before version 1; .* 1, 2, 3, 10: rockstar"):
        rollback(models, "cnn", "stable")
    assert stable(models) == 1


def test_labels_go_back_each_on_its_own(models):
    promote(models, "cnn", 1, "stable")
    promote(models, "cnn", 3, "canary")
    promote(models, "cnn", 10, "canary")
    assert rollback(models, "cnn", "canary") == (10, 3)
    assert stable(models) == 1


def test_the_same_version_again_is_no_step_to_go_back(models):
    for version in (1, 2, 2):
        promote(models, "cnn", version, "stable")
    assert rollback(models, "cnn", "stable") == (2, 1)


def test_rollback_passes_over_versions_that_were_removed(models):
    for version in (1, 2, 3, 10):
        promote(models, "cnn", version, "stable")
    promote(models, "cnn", 1, "keep")
    assert [version.number for version in prune(models, "cnn", 1)] == [2, 3]
    assert rollback(models, "cnn", "stable") == (10, 1)


def test_a_crash_between_the_two_files_costs_nothing(models):
    promote(models, "cnn", 1, "stable")
    promote(models, "cnn", 2, "stable")
    before = (models / "models.config").read_bytes()
    promote(models, "cnn", 3, "stable")
    (models / "models.config").write_bytes(before)
    assert rollback(models, "cnn", "stable") == (2, 1)


def test_a_damaged_version_gets_no_label(models):
    (models / "cnn" / "2" / "model.tflite").write_bytes(b"y" * 2048)
    with pytest.raises(
        ModelFolderError, match=r"model\.tflite has another content; it gets no label"
    ):
        promote(models, "cnn", 2, "stable")
    assert stable(models) is None


def test_a_version_that_was_published_elsewhere_may_have_a_label(models):
    (models / "cnn" / "2" / "manifest.json").unlink()
    promote(models, "cnn", 2, "stable")
    assert stable(models) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rnn", 1, "stable"), "holds no model rnn; it holds cnn, mlp$"),
        (("cnn", 4, "stable"), "cnn has no version 4; it has the versions 1, 2, 3, 10$"),
        (("cnn", 1, "a/b"), "label: expected letters, digits, _ . -, got 'a/b'"),
        (("cnn", 1, ""), "label: expected"),
        (("cnn", 1, "stable", "models"), "base path: expected an absolute path or a URI"),
    ],
)
def test_labels_that_cannot_be_given(models, arguments, message):
    with pytest.raises(ModelFolderError, match=message):
        promote(models, *arguments)
    assert not (models / "models.config").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rnn", "stable"), "holds no model rnn; it holds cnn, mlp$"),
        (("mlp", "stable"), "mlp has no label stable; its labels are: none$"),
        (("cnn", "canary"), "cnn has no label canary; its labels are: stable$"),
        (("cnn", "stable"), "cnn has no version left that had the label stable before version 1"),
    ],
)
def test_labels_that_cannot_go_back(models, arguments, message):
    promote(models, "cnn", 1, "stable")
    with pytest.raises(ModelFolderError, match=message):
        rollback(models, *arguments)


def test_leftovers_of_a_killed_prune_are_removed(models):
    (models / "cnn" / ".removed-0" / "variables").mkdir(parents=True)
    prune(models, "cnn", 4)
    assert not (models / "cnn" / ".removed-0").exists()


def test_the_newest_version_always_stays(models):
    with pytest.raises(ModelFolderError, match="keep: expected at least 1, got 0"):
        prune(models, "cnn", 0)
    with pytest.raises(ModelFolderError, match="holds no model rnn"):
        prune(models, "rnn", 1)


@pytest.fixture
def three(tmp_path):
    folder = tmp_path / "models"
    for version in (1, 2, 3):
        add_version(folder, "cnn", version)
    return folder


def served(three) -> list[int]:
    return sorted(served_versions(three / "cnn"))


def test_rollback_holds_newer_versions_with_any_policy(three):
    assert restore(three, "cnn").now == 2
    assert (served(three), [*held_versions(three / "cnn")]) == ([1, 2], [3])
    assert not (three / "models.config").exists()
    assert restore(three, "cnn").held == (2,)
    assert (served(three), [*held_versions(three / "cnn")]) == ([1], [2, 3])
    with pytest.raises(
        ModelFolderError, match="has only version 1, and none to go back to; it holds"
    ):
        restore(three, "cnn")


def test_rollback_goes_to_the_stable_version_and_moves_labels(three):
    promote(three, "cnn", 1, "stable")
    promote(three, "cnn", 3, "stable")
    promote(three, "cnn", 2, "canary")
    done = restore(three, "cnn")
    assert (done.before, done.now, done.held, done.labels) == (3, 1, (2, 3), ("canary", "stable"))
    assert read_labels(three).labels("cnn") == {"canary": 1, "stable": 1}


def test_a_choice_of_versions_by_number_goes_back_too(three):
    promote(three, "cnn", 3, "stable")
    text = (three / "models.config").read_text()
    specific = "model_version_policy { specific { versions: 3 } }"
    all_versions = "model_version_policy {\n      all {\n      }\n    }"
    assert all_versions in text
    (three / "models.config").write_text(text.replace(all_versions, specific))
    restore(three, "cnn")
    config = written(three)["cnn"]
    assert [*config.model_version_policy.specific.versions] == [2]
    assert dict(config.version_labels) == {"stable": 2}


def test_rollback_rejects_a_damaged_version(three):
    (three / "cnn" / "2" / "model.tflite").write_bytes(b"y")
    with pytest.raises(ModelFolderError, match="it cannot be restored"):
        restore(three, "cnn")
    assert served(three) == [1, 2, 3]


def test_promoting_a_held_version_serves_it(three):
    restore(three, "cnn")
    assert promote(three, "cnn", 3, "stable") is None
    assert served(three) == [1, 2, 3]
    assert read_labels(three).labels("cnn") == {"stable": 3}


def test_the_only_version_of_a_model_can_be_held_and_promoted(three):
    add_version(three, "mlp", 1)
    (three / "mlp" / "1").rename(three / "mlp" / "held-1")
    promote(three, "mlp", 1, "stable")
    assert sorted(served_versions(three / "mlp")) == [1]


def test_a_removed_version_leaves_nothing_and_its_number_does_not_come_again(three):
    from rockstar_training.export import publication

    assert unpublish(three, "cnn", 3)
    assert served(three) == [1, 2]
    assert not [path for path in (three / "cnn").iterdir() if path.name.startswith(".removed")]
    with publication(three / "cnn") as incoming:
        assert incoming.version == 4
        (incoming.folder / "x").write_text("x")
    assert served(three) == [1, 2, 4]


def test_a_version_with_a_label_is_not_removed(three):
    promote(three, "cnn", 2, "stable")
    with pytest.raises(
        ModelFolderError, match="version 2 has the label stable: give it to another"
    ):
        unpublish(three, "cnn", 2)


def test_held_and_last_versions_can_be_removed(three):
    restore(three, "cnn")
    assert unpublish(three, "cnn", 3)
    assert not held_versions(three / "cnn")
    assert unpublish(three, "cnn", 1)
    assert not unpublish(three, "cnn", 2)
    add_version(three, "cnn", 4)
    with pytest.raises(ModelFolderError, match="no version 9"):
        unpublish(three, "cnn", 9)


def test_prune_keeps_served_and_held_versions(three):
    restore(three, "cnn")
    add_version(three, "cnn", 4)
    (three / "cnn" / "1").rename(three / "cnn" / "held-1")
    assert sorted(version.number for version in prune(three, "cnn", 1)) == [1, 2, 3]
    assert (served(three), [*held_versions(three / "cnn")]) == ([4], [])


def test_publishing_held_takes_a_number_but_serves_nothing(three):
    from rockstar_training.export import publication, versions

    with publication(three / "cnn", held=True) as incoming:
        (incoming.folder / "x").write_text("x")
    assert (served(three), versions(three / "cnn")) == ([1, 2, 3], [1, 2, 3, 4])
    with publication(three / "cnn") as incoming:
        assert incoming.version == 5
        (incoming.folder / "x").write_text("x")
