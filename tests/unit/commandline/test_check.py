"""`rockstar check` of folders and files; tests/integration/gateway has it with a running service."""

import json

import pytest

from rockstar_contract.manifest import write_manifest
from rockstar_serving.registry import promote
from tests.command_line import invoke
from tests.model_fixtures import toy_model


@pytest.fixture
def check(models, monkeypatch):
    """Its findings by subject, and the exit code; the LiteRT file of version 3 can be loaded."""
    (models / "cnn" / "3" / "model.tflite").write_bytes(toy_model())
    write_manifest(models / "cnn" / "3")
    monkeypatch.chdir(models.parent)

    def run(*arguments: str) -> tuple[dict, int]:
        result = invoke("check", *arguments, "--json")
        document = json.loads(result.stdout)
        assert document["ok"] is (result.exit_code == 0)
        return {each["subject"]: each for each in document["checks"]}, result.exit_code

    return run


def test_a_folder_of_models(check, models):
    promote(models, "cnn", 3, "stable")
    found, code = check()
    assert code == 1
    assert found["cnn/3"]["status"] == "ok"
    assert found["cnn/3"]["detail"].startswith("2 files as published, contract, ")
    assert found["cnn/3"]["detail"].endswith("signatures load, labels stable")
    # Right by its manifest, and no model at all.
    assert found["cnn/2"]["status"] == "failed"
    assert "is no LiteRT model" in found["cnn/2"]["detail"]
    assert found["cnn/2"]["fix"]


def test_a_folder_where_all_is_right(check, models):
    for version in ("1", "2"):
        (models / "cnn" / version).rename(models.parent / version)
    found, code = check("--models", "models")
    assert code == 0
    assert [*found] == ["cnn/3"]


def test_an_import_that_litert_cannot_run_is_served_by_tensorflow(check, models):
    (models / "cnn" / "3" / "model.tflite").unlink()
    write_manifest(models / "cnn" / "3")
    found, _ = check()
    assert found["cnn/3"]["status"] == "failed"
    (models / "cnn" / "3" / "saved_model.pb").write_bytes(b"graph")
    write_manifest(models / "cnn" / "3")
    found, _ = check()
    assert found["cnn/3"]["status"] == "ok"
    assert "no model.tflite: needs TensorFlow" in found["cnn/3"]["detail"]


def test_damage_a_missing_contract_and_a_label_on_nothing(check, models):
    (models / "cnn" / "1" / "model.tflite").write_bytes(b"")
    (models / "cnn" / "3" / "assets.extra" / "contract.json").write_text("{}")
    write_manifest(models / "cnn" / "3")
    promote(models, "cnn", 2, "stable")
    (models / "cnn" / "2").rename(models / "cnn" / ".2")
    found, code = check()
    assert code == 1
    assert "has 0 bytes, not 2048" in found["cnn/1"]["detail"]
    assert "contract.json cannot be read" in found["cnn/3"]["detail"]
    assert "label stable on version 2, which is missing" in found["labels"]["detail"]
    assert "rockstar promote" in found["labels"]["fix"]


def test_without_litert_what_can_be_known_is(check, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    found, code = check()
    assert code == 0
    assert found["cnn/3"]["status"] == "skipped"
    assert "pip install" in found["cnn/3"]["fix"]


def test_no_folder(check):
    found, code = check("--models", "absent")
    assert code == 1
    assert found["absent"]["detail"] == "absent does not exist"
    assert "rockstar train cnn" in found["absent"]["fix"]


def test_a_line_for_each_with_the_way_out(models):
    result = invoke("check", "--models", models)
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == [
        "failed  cnn/1",
        "failed  cnn/2",
        "failed  cnn/3",
    ]
    assert result.stderr == "3 of 3 checks failed.\n"
