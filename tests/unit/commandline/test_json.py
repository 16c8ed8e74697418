"""The documents that `--json` prints, as described in docs/command-line.md."""

import json

import pytest

from rockstar_cli.output import echo_json
from tests.command_line import invoke, invoke_json, start


@pytest.fixture
def run(models):
    return lambda *arguments: invoke_json(*arguments, "--models", models)


def test_models(run, models):
    run("promote", "cnn", 2)
    found = run("models", "cnn")
    assert set(found) == {"versions", "warnings"}
    assert found["versions"][1]["bytes"] > 2048
    assert found["versions"][1] == {
        "model": "cnn",
        "version": 2,
        "held": False,
        "labels": ["stable"],
        "bytes": found["versions"][1]["bytes"],
        "path": str(models / "cnn" / "2"),
        "task": "classification",
        "data_set": "toys",
        "metrics": {"test_accuracy": 0.92, "train_accuracy": 1.0},
        "created": "2026-05-04T03:02:00+00:00",
        "problem": None,
    }


def test_promote_and_rollback(run, models):
    file = str(models / "models.config")
    moved = {"model": "cnn", "label": "stable", "file": file}
    assert run("promote", "cnn", 1) == {**moved, "version": 1, "before": None}
    assert run("promote", "cnn", 3) == {**moved, "version": 3, "before": 1}
    assert run("rollback", "cnn", "--label", "stable") == {**moved, "version": 1, "before": 3}
    served = {"model": "cnn", "version": 2, "before": 3}
    assert run("rollback", "cnn") == {**served, "held": [3], "labels": []}
    assert run("unpublish", "cnn", 3) == {"model": "cnn", "version": 3, "served": True}


def test_prune(run):
    found = run("prune", "cnn", "--keep", 1, "--dry-run")
    assert [each["version"] for each in found["removed"]] == [1, 2]
    assert found["dry_run"] is True
    assert run("prune", "cnn", "--keep", 1)["removed"] == found["removed"]
    assert run("prune", "cnn", "--keep", 1)["removed"] == []


def test_verify(run, models):
    version = {"model": "cnn", "version": 1, "files": 2, "problem": None}
    assert run("verify", "cnn/1") == {"ok": True, "versions": [version], "dangling_labels": []}
    (models / "cnn" / "2" / "model.tflite").write_bytes(b"")
    result = invoke("verify", "--models", models, "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["ok"] is False
    assert "has 0 bytes, not 2048" in found["versions"][1]["problem"]
    assert result.stderr.startswith("1 of 3 versions do not match their manifests")


def write_run(folder, data="digits", **metrics):
    folder.mkdir(parents=True)
    for name, document in {
        "config": {"model": "cnn", "data": data},
        "metrics": metrics,
        "history": [{"seconds": 2.5}, {"seconds": 1}],
        "contract": {"created": "2026-11-29T20:00:00Z"},
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(document))
    (folder / "report.html").touch()


def test_runs(tmp_path):
    write_run(tmp_path / "runs" / "cnn-1", test_accuracy=0.9, test_loss=float("nan"))
    (tmp_path / "runs" / "cnn-2").mkdir()
    run = {"id": "cnn-1", "model": "cnn", "data": "digits", "metric": "accuracy", "score": 0.9}
    run |= {"loss": None, "epochs": 2, "seconds": 3.5, "created": "2026-11-29T20:00:00Z"}
    why = "it has no config.json: not finished, or stopped before the end"
    found = invoke_json("runs", "--workdir", tmp_path)
    assert found == {"runs": [run | {"best": True}], "skipped": [{"id": "cnn-2", "why": why}]}


def test_a_page_of_runs_links_to_their_reports(tmp_path):
    for name, score in (("cnn-1", 0.9), ("<b>-2", 0.8)):
        write_run(tmp_path / "runs" / name, test_accuracy=score)
    (tmp_path / "runs" / "old").mkdir()
    found = invoke_json("runs", "--workdir", tmp_path, "--html")
    page = (tmp_path / "runs" / "index.html").read_text()
    assert found["page"] == str(tmp_path / "runs" / "index.html")
    assert '<a href="cnn-1/report.html">cnn-1</a> (best)' in page
    assert '<a href="%3Cb%3E-2/report.html">&lt;b&gt;-2</a>' in page
    assert "old: it has no config.json" in page


def test_runs_with_data_whose_name_is_not_utf8(tmp_path):
    write_run(tmp_path / "runs" / "cnn-1", "folder:ph\udce9")
    (found,) = invoke_json("runs", "--workdir", tmp_path)["runs"]
    assert found["data"] == r"folder:ph\udce9"
    process = start("runs", "--workdir", tmp_path, env={"PYTHONIOENCODING": "utf-8:strict"})
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert r"folder:ph\udce9" in output


def test_any_text_is_printed_as_json(capfdbinary):
    echo_json({"path": "r\udce9.png", "n\udce9": ["ü", 1.5, float("nan")]})
    document = json.loads(capfdbinary.readouterr().out)
    assert document == {"path": r"r\udce9.png", r"n\udce9": ["ü", 1.5, None]}


def test_printed_gateway_settings_hide_secrets():
    result = invoke("gateway", "--print-config", "--api-keys", "me:0123", "--json")
    settings = {each["name"]: each for each in json.loads(result.stdout)["settings"]}
    assert settings["api_keys"]["value"] == "(hidden)"
    assert settings["threads"] == {
        "name": "threads",
        "variable": "ROCKSTAR_THREADS",
        "value": 32,
        "source": "default",
    }


def test_a_new_key_and_its_entry():
    found = invoke_json("gateway", "--make-key", "me")
    assert found["name"] == "me"
    assert found["key"].startswith("rock-")
    assert found["entry"].startswith("[keys.me]")
