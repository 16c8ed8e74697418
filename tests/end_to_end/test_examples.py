"""The scripts in examples/ against running servers."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rockstar_client import HttpClient
from rockstar_contract.contract import CONTRACT_FILE, Contract
from rockstar_serving.model_server.models.config import All, ModelConfig
from rockstar_serving.model_server.options import EngineOptions, ServerOptions
from rockstar_serving.model_server.server import ModelServer
from rockstar_training.datasets import load
from tests.end_to_end.conftest import ROOT
from tests.end_to_end.heldout import held_out
from tests.images import png

ENVIRONMENT = {name: text for name, text in os.environ.items() if not name.startswith("ROCKSTAR_")}


def run(script: str, *arguments: object, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "examples" / f"{script}.py"), *map(str, arguments)]
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )


def predicted(workdir: Path, model: str) -> list[str]:
    """The predictions of version 1 for the held-out examples in training, in the record's order."""
    contract = (workdir / "models" / model / "1" / CONTRACT_FILE).read_bytes()
    threshold = Contract.from_json(contract).threshold or 0
    with (workdir / "runs" / f"{model}-1" / "test_predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["predicted"] if float(row["score"]) >= threshold else "not sure" for row in rows]


def test_images_are_sorted(start_service, trained_models, tmp_path):
    service = start_service(trained_models.workdir / "models")
    files, labels, scores = held_out(trained_models.workdir / "runs" / "cnn-1")
    scans = tmp_path / "scans"
    scans.mkdir()
    for index in range(20):
        (scans / f"{index}.png").write_bytes(files[index])
    (scans / "broken.png").write_bytes(b"no image")
    (scans / "notes.txt").write_text("not asked about")
    # Between the scores, so that there are images on both sides.
    threshold = sorted(scores[:20])[3] + 1e-6
    options = ("--model=cnn", f"--url={service.http}", f"--threshold={threshold}")
    done = run("sort_images", *options, scans, tmp_path / "sorted")
    assert done.returncode == 0, done.stderr
    for index in range(20):
        label = labels[index] if scores[index] >= threshold else "unsure"
        assert (tmp_path / "sorted" / label / f"{index}.png").exists(), index
    assert "broken.png skipped: " in done.stderr
    assert "     4 unsure\n" in done.stdout


def test_versions_are_compared(trained_models, tmp_path):
    """The cnn against a logistic regression as the new version."""
    trained = trained_models.workdir
    base = tmp_path / "digits"
    shutil.copytree(trained / "models" / "logistic" / "1", base / "1")
    shutil.copytree(trained / "models" / "cnn" / "1", base / "2")
    files, _, _ = held_out(trained / "runs" / "cnn-1")
    images = [tmp_path / f"{index}.png" for index in range(100)]
    for image, content in zip(images, files, strict=False):
        image.write_bytes(content)
    before, after = (predicted(trained, model) for model in ("logistic", "cnn"))
    differ = [index for index in range(100) if before[index] != after[index]]
    options = ServerOptions((ModelConfig("digits", base, All()),), engine=EngineOptions(prefer_tflite=True))  # fmt: skip
    with ModelServer(options) as server:
        common = ("--model=digits", "--old=1", f"--server={server.grpc_address}", *images)
        done = run("compare_versions", "--new=2", "--agreement=1", *common)
        same = run("compare_versions", "--new=1", "--agreement=1", *common)
    assert differ, "these models agree on all of these images: take more"
    assert done.returncode == 1, done.stderr
    *lines, last = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [str(images[index]) for index in differ]
    assert f"{before[differ[0]]} (" in lines[0]
    assert f"becomes {after[differ[0]]} (" in lines[0]
    assert last.startswith(f"{100 - len(differ)} of 100 labels are the same")
    assert same.returncode == 0


@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("sort_images", ("--url=http://127.0.0.1:1", "scans", "sorted")),
        ("compare_versions", ("--old=1", "--new=2", "--server=127.0.0.1:1", "scans/1.png")),
    ],
)
def test_no_server(tmp_path, script, options):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "1.png").write_bytes(png(load("digits").images[0][:, :, 0]))
    done = run(script, "--model=cnn", *options, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "127.0.0.1:1" in done.stderr


@pytest.mark.slow
def test_a_keras_model_of_ones_own_is_served(start_service, tmp_path):
    digits = load("digits")
    for index, (image, label) in enumerate(zip(digits.images, digits.labels, strict=True)):
        folder = tmp_path / "parity" / ("odd" if label % 2 else "even")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{index}.png").write_bytes(png(image[:, :, 0]))
    done = run("own_keras_model", tmp_path / "parity", tmp_path / "mine")
    assert done.returncode == 0, done.stderr
    service = start_service(tmp_path / "mine" / "models")
    with HttpClient(service.http) as client:
        for label in ("even", "odd"):
            files = sorted((tmp_path / "parity" / label).iterdir())[:50]
            predictions = client.predict("parity", files).predictions
            assert sum(p.label == label for p in predictions) >= 45
