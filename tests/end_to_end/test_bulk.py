"""`rockstar predict -o` against the models that training made, over HTTP and gRPC."""

import csv

import pytest

from tests.end_to_end.conftest import rockstar
from tests.end_to_end.heldout import held_out


def test_many_predictions_are_those_of_training(start_service, trained_models, tmp_path):
    files, predicted, scores = held_out(trained_models.workdir / "runs" / "cnn-1")
    images = tmp_path / "images"
    images.mkdir()
    for number, file in enumerate(files):
        (images / f"{number:04}.png").write_bytes(file)
    service = start_service(trained_models.workdir / "models")
    for place in (["--url", service.http], ["--grpc", service.grpc]):
        out = tmp_path / f"{place[0]}.csv"
        done = rockstar("predict", *place, "--model", "cnn", str(images), "-o", str(out))
        assert done.returncode == 0, done.stderr
        assert f"{len(files)} items, 0 failed" in done.stderr
        with out.open(newline="") as file:
            rows = list(csv.DictReader(file))
        # Few of them are not sure.
        sure = [row["label"] == label for row, label in zip(rows, predicted, strict=True)]
        assert sum(sure) > 0.95 * len(rows)
        assert {row["label"] for row, same in zip(rows, sure, strict=True) if not same} <= {""}
        assert [float(row["score"]) for row in rows] == pytest.approx(scores, abs=1e-5)
    for wrong in (["--model", "nose"], ["--model", "cnn", "--version", "9"], []):
        done = rockstar("predict", "--url", service.http, *wrong, str(images), "-o", str(tmp_path / "no.csv"))  # fmt: skip
        assert done.returncode == 1
        assert "cnn" in done.stderr
    assert not list(tmp_path.glob("no*"))
