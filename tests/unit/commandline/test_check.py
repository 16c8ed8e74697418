"""`rockstar check` of model folders; tests/integration/gateway checks running services."""

import json

import pytest

from rockstar_contract.manifest import write_manifest
from rockstar_serving.registry import promote
from tests.command_line import invoke
from tests.model_fixtures import toy_model


@pytest.fixture
def check(models, monkeypatch):
    """Returns the findings by subject, and the exit code; only version 3 has a valid LiteRT file."""
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
    # As in its manifest, but not a model.
    assert found["cnn/2"]["status"] == "failed"
    assert "is not a LiteRT model" in found["cnn/2"]["detail"]
    assert found["cnn/2"]["fix"]


def test_a_valid_folder(check, models):
    for version in ("1", "2"):
        (models / "cnn" / version).rename(models.parent / version)
    found, code = check("--models", "models")
    assert code == 0
    assert [*found] == ["cnn/3"]


def test_an_import_without_a_litert_file_needs_tensorflow(check, models):
    (models / "cnn" / "3" / "model.tflite").unlink()
    write_manifest(models / "cnn" / "3")
    found, _ = check()
    assert found["cnn/3"]["status"] == "failed"
    (models / "cnn" / "3" / "saved_model.pb").write_bytes(b"graph")
    write_manifest(models / "cnn" / "3")
    found, _ = check()
    assert found["cnn/3"]["status"] == "ok"
    assert "no model.tflite: needs TensorFlow" in found["cnn/3"]["detail"]


def test_damaged_files_a_bad_contract_and_a_dangling_label(check, models):
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


def test_without_litert_loading_is_skipped(check, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    found, code = check()
    assert code == 0
    assert found["cnn/3"]["status"] == "skipped"
    assert "pip install" in found["cnn/3"]["fix"]


def test_a_missing_folder(check):
    found, code = check("--models", "absent")
    assert code == 1
    assert found["absent"]["detail"] == "absent does not exist"
    assert "rockstar train cnn" in found["absent"]["fix"]


def test_text_output_has_a_line_per_finding(models):
    result = invoke("check", "--models", models)
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == [
        "failed  cnn/1",
        "failed  cnn/2",
        "failed  cnn/3",
    ]
    assert result.stderr == "3 of 3 checks failed.\n"
