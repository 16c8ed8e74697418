"""`rockstar models`, `promote`, `rollback`, `unpublish`, `prune` and `verify`."""

import json

import pytest

from tests.command_line import invoke


@pytest.fixture
def rockstar(models):
    def run(*arguments: str, status: int = 0) -> str:
        result = invoke(*arguments, "--models", models)
        assert result.exit_code == status, result.output
        return result.output

    return run


def test_a_table_of_models(rockstar):
    rockstar("promote", "cnn", "2")
    rockstar("promote", "cnn", "3", "--label", "canary")
    lines = rockstar("models").splitlines()
    assert lines[0].split() == ["MODEL", "VERSION", "LABELS", "SIZE", "CREATED", "METRICS"]
    assert lines[2].split("  ")[0] == "cnn"
    assert "stable" in lines[2]
    assert "canary" in lines[3]
    assert lines[3].endswith("2026-05-04 03:02  test_accuracy 0.9300")


def test_promote_and_rollback_print_the_change(rockstar):
    assert rockstar("promote", "cnn", "1").startswith("cnn stable is version 1 (")
    assert "is version 2, before that version 1" in rockstar("promote", "cnn", "2")
    assert "is version 2, as before" in rockstar("promote", "cnn", "2")
    assert "is version 1 again, not 2" in rockstar("rollback", "cnn", "--label", "stable")


def test_rollback_prints_served_and_held_versions(rockstar, models):
    output = rockstar("rollback", "cnn")
    assert output.startswith(
        "cnn serves version 2 again; held: 3 (rockstar promote cnn 3 serves it"
    )
    assert "3 (held)" in rockstar("models", "cnn")
    assert json.loads(rockstar("rollback", "cnn", "--json"))["held"] == [2]
    rockstar("promote", "cnn", "1")
    rockstar("promote", "cnn", "3")
    output = rockstar("rollback", "cnn", "--label", "stable")
    assert "Requests that name no label still get version 3." in output


def test_unpublish_warns_if_nothing_is_left(rockstar):
    assert rockstar("unpublish", "cnn", "3") == "cnn version 3 is removed\n"
    rockstar("unpublish", "cnn", "1")
    assert "model cnn is no longer available" in rockstar("unpublish", "cnn", "2")


def test_prune_prints_what_it_removes(rockstar, models):
    rockstar("promote", "cnn", "1")
    assert "cnn version 2 would be removed" in rockstar("prune", "cnn", "--keep", "1", "--dry-run")
    assert (models / "cnn" / "2").exists()
    assert "cnn version 2 removed" in rockstar("prune", "cnn", "--keep", "1")
    assert sorted(path.name for path in (models / "cnn").iterdir()) == ["1", "3"]
    assert "Nothing to remove" in rockstar("prune", "cnn", "--keep", "1")


def test_verify_exits_with_1_if_a_file_differs(rockstar, models):
    assert rockstar("verify").count("all 2 files are as published") == 3
    (models / "cnn" / "2" / "model.tflite").write_bytes(b"")
    output = rockstar("verify", status=1)
    assert "cnn version 2: " in output
    assert "model.tflite has 0 bytes, not 2048" in output
    assert "1 of 3 versions do not match their manifests" in output
    assert "version 2" not in rockstar("verify", "cnn/3")


def test_a_label_on_a_missing_version_is_reported(rockstar, models):
    rockstar("promote", "cnn", "2")
    (models / "cnn" / "2").rename(models / "cnn" / ".2")
    assert "label stable on version 2, which is missing" in rockstar("verify", status=1)
    assert "Warning: cnn has the label stable on version 2" in rockstar("models")
