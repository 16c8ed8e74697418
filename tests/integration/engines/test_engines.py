"""`rockstar predict --engine`: parts, resuming, and the same predictions as of the service."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import requests
from pyarrow.fs import FileSystem, copy_files

from rockstar_cli import engines
from rockstar_serving import load
from tests.command_line import invoke, serving, start
from tests.environments import environment
from tests.images import png, stroke
from tests.integration.engines.inputs import write_images, write_rows
from tests.object_store import KEYS, REQUIREMENTS, object_store
from tests.waiting import until


@pytest.fixture
def here(monkeypatch):
    """Runs the engine `local` in this process."""
    monkeypatch.setitem(engines.ENGINES, "local", lambda write, parts, _: map(write, parts))


@pytest.fixture
def predict(models, here):
    def run(*arguments, model="toy"):
        options = ("--engine", "local", "--models", models, "--model", model)
        return invoke("predict", *options, *arguments)

    return run


def rows_of(folder: Path) -> list[dict]:
    rows: list[dict] = pq.read_table(folder).sort_by("item").to_pylist()
    return rows


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_bad_image_becomes_a_row_with_an_error(predict, tmp_path):
    images = write_images(tmp_path / "images", 20, broken=2)
    (images / ".hidden").mkdir()
    (images / "notes.txt").touch()
    out = tmp_path / "out.parquet"
    result = predict(images, "-o", out, "--batch", 8)
    assert result.exit_code == 4, result.output
    assert "20 items, 2 failed" in result.stderr
    assert "1 other files were skipped" in result.stderr
    rows = rows_of(out)
    assert [Path(row["item"]).stem for row in rows] == [f"{n:05}" for n in range(20)]
    assert [row["error"] is None for row in rows] == [True] * 18 + [False] * 2
    assert rows[-1]["version"] is None
    assert [name[:11] for name in names_in(out)] == ["_SUCCESS", *(f"part-0000{n}-" for n in "012")]
    schema = pq.read_schema(out / names_in(out)[1])
    assert str(schema.field("version").type) == "int64"


def test_a_repeated_run_skips_parts_and_writes_the_others(predict, tmp_path):
    images, out = write_images(tmp_path / "images", 30, broken=1), tmp_path / "out"
    assert predict(images, "-o", out, "--batch", 8).exit_code == 4
    expected, names = rows_of(out), names_in(out)
    result = predict(images, "-o", out, "--batch", 8)
    assert result.exit_code == 1
    assert f"{out} is complete; use --restart" in result.stderr
    for name in (names[0], names[2]):
        (out / name).unlink()
    (out / names[3]).write_bytes(b"PAR1 damaged by a crash")
    kept = (out / names[1]).stat().st_mtime_ns
    result = predict(images, "-o", out, "--batch", 8)
    assert "30 items (14 in earlier runs), 1 failed" in result.stderr
    assert (rows_of(out), names_in(out)) == (expected, names)
    assert (out / names[1]).stat().st_mtime_ns == kept
    result = predict(images, "-o", out, "--batch", 8, "--restart", "--top", 2)
    assert result.exit_code == 4, result.output
    assert "label_2" in rows_of(out)[0]
    assert len(names_in(out)) == len(names)


def test_another_input_model_or_option_is_detected(predict, tmp_path):
    images, out = write_images(tmp_path / "images", 30), tmp_path / "out"
    assert predict(images, "-o", out, "--batch", 8).exit_code == 0
    (out / "_SUCCESS").unlink()
    for other in (["--top", 2], ["--strict"], ["--batch", 9]):
        result = predict(images, "-o", out, "--batch", 8, *other)
        assert result.exit_code == 1
        assert "has predictions of another input, model" in result.stderr
    max(images.glob("*/*")).unlink()
    assert "of another input" in predict(images, "-o", out, "--batch", 8).stderr
    for image in sorted(images.glob("*/*"))[8:]:
        image.unlink()
    assert "has more parts than this input" in predict(images, "-o", out, "--batch", 8).stderr
    assert "_SUCCESS" not in names_in(out)


def test_inputs_and_outputs_that_cannot_be_used(predict, tmp_path):
    images = write_images(tmp_path / "images", 2)
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for arguments, message in [
        ([images], "--engine needs -o FOLDER"),
        ([images, "-o", tmp_path / "a.csv"], "expected a folder or URL with --engine"),
        ([images, "-o", images, "--restart"], "expected a new or empty folder, got"),
        ([images, "-o", images], "expected a new or empty folder, got"),
        ([images, "-o", tmp_path / "file"], "non-directory entry exists"),
        ([images, "-o", "wasb://x/y"], "expected a path, s3://BUCKET/KEY"),
        (["wasb://x/y", "-o", tmp_path / "out"], "expected a path, s3://BUCKET/KEY"),
        ([tmp_path / "absent", "-o", tmp_path / "out"], "absent: no such file or folder"),
        ([tmp_path / "empty", "-o", tmp_path / "out"], "there is nothing to predict"),
        ([images, "-o", tmp_path / "out", "--version", 7], "has no version 7"),
        ([images, "-o", tmp_path / "out", "--grpc", "x:1"], "does not work with --grpc"),
    ]:
        result = predict(*arguments)
        assert result.exit_code in (1, 2)
        assert message in result.stderr
    assert "choose --model price | toy" in predict(images, "-o", "out", model="cnn").stderr
    result = invoke("predict", images, "-o", tmp_path / "a.csv", "--workers", 2)
    assert "--models and --workers need --engine" in result.stderr


def test_rows_of_parquet_files(predict, models, tmp_path):
    file, out = write_rows(tmp_path / "rows.parquet", 1000), tmp_path / "out"
    result = predict(file, "-o", out, "--batch", 400, model="price")
    assert result.exit_code == 4, result.output  # of colors that training did not see
    predicted = pq.read_table(out).to_pydict()
    assert predicted.pop("item") == [f"{file}:{number}" for number in range(1, 1001)]
    assert predicted == load(models / "price").table(pq.read_table(file))  # sums are exact
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    pq.write_table(pa.table({"color": ["red"], "width": [1.0]}), tmp_path / "other.parquet")
    result = predict(tmp_path, "-o", out, "--restart", model="price")
    assert "1,002 items" in result.stderr
    errors = {Path(row["item"]).name: row["error"] for row in rows_of(out)}
    assert errors["broken.parquet"].startswith("expected a Parquet file, got")
    # As with a service, a missing column is imputed.
    assert errors["other.parquet:1"] is None
    assert "petal width in" in result.stderr
    assert "Ignored columns: width" in result.stderr
    assert not any(name.startswith("part-") for name in errors)


@pytest.mark.parametrize("nested", [False, True])
def test_images_in_parquet_files(predict, tmp_path, nested):
    images = [png(stroke()), None, b"not an image", png(stroke(20))]
    column = [{"path": "a.png", "bytes": each} for each in images] if nested else images
    pq.write_table(pa.table({"id": [1, 2, 3, 4], "image": column}), tmp_path / "in.parquet")
    result = predict(tmp_path / "in.parquet", "-o", tmp_path / "out")
    assert "4 items, 2 failed" in result.stderr
    errors = [row["error"] for row in rows_of(tmp_path / "out")]
    assert [error is None for error in errors] == [True, False, False, True]
    assert errors[1] == "expected an image, got null"
    pq.write_table(pa.table({"id": [1], "name": ["a"]}), tmp_path / "none.parquet")
    predict(tmp_path / "none.parquet", "-o", tmp_path / "none")
    (row,) = rows_of(tmp_path / "none")
    assert row["error"] == "expected one column of images as bytes, got 0 such columns of id, name"


@pytest.fixture
def bucket(request, monkeypatch):
    """The name of a bucket in a store that PyArrow finds in the environment."""
    python = environment(request.config, "object-storage", REQUIREMENTS)
    with object_store(python) as endpoint:
        for name, value in {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_REGION": "us-east-1",
            **KEYS,
        }.items():
            monkeypatch.setenv(name, value)
        requests.put(f"{endpoint}/pets", timeout=10).raise_for_status()
        yield FileSystem.from_uri("s3://pets")[0]


def test_object_stores(predict, bucket, tmp_path):
    images = write_images(tmp_path / "images", 20, broken=1)
    copy_files(str(images), "pets/scans", destination_filesystem=bucket)
    result = predict("s3://pets/scans/", "-o", "s3://pets/answers/1", "--batch", 8)
    assert "20 items, 1 failed" in result.stderr, result.output
    rows = pq.read_table("pets/answers/1", filesystem=bucket).to_pylist()
    names = [f"s3://pets/scans/{path.relative_to(images)}" for path in sorted(images.glob("*/*"))]
    assert [row["item"] for row in rows] == names
    bucket.delete_file("pets/answers/1/_SUCCESS")
    result = predict("s3://pets/scans", "-o", "s3://pets/answers/1", "--batch", 8)
    assert "20 items (20 in earlier runs), 1 failed" in result.stderr
    assert "is complete" in predict(images, "-o", "s3://pets/answers/1").stderr
    rows_file = write_rows(tmp_path / "rows.parquet", 50)
    copy_files(str(rows_file), "pets/tables/rows.parquet", destination_filesystem=bucket)
    result = predict("s3://pets/tables", "-o", tmp_path / "rows", model="price")
    assert "50 items" in result.stderr
    assert rows_of(tmp_path / "rows")[0]["item"] == "s3://pets/tables/rows.parquet:1"
    for arguments in (["s3://absent/x", "-o", tmp_path / "x"], [images, "-o", "s3://absent/x"]):
        assert "NO_SUCH_BUCKET" in predict(*arguments).stderr
    assert "does not exist" in predict("s3://pets/none", "-o", tmp_path / "y").stderr


@pytest.mark.slow
def test_a_run_in_two_processes_is_killed_and_repeated(models, tmp_path):
    images, out = write_images(tmp_path / "images", 500, broken=3), tmp_path / "out"
    command = ("predict", "--engine", "local", "--models", models, "--model", "toy", images)
    options = ("-o", out, "--workers", 2, "--batch", 20)
    with start(*command, *options) as process:
        until(lambda: any(out.glob("part-*")))
        workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
    # Workers end by themselves.
    until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers))
    assert "_SUCCESS" not in names_in(out)
    before = {path: path.stat().st_mtime_ns for path in out.glob("part-*")}
    with start(*command, *options) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 4, errors
    assert "500 items (" in errors
    after = {path: path.stat().st_mtime_ns for path in out.glob("part-*")}
    assert before.items() <= after.items()
    assert len(after) == 25
    # One worker in this process writes the same.
    files = sorted(images.glob("*/*.png"))
    table = load(models / "toy", top=1).table([file.read_bytes() for file in files])
    assert_same(pq.read_table(out), pa.table({"item": [*map(str, files)], **table}))


def assert_same(first: pa.Table, second: pa.Table) -> None:
    """Equal, but for the rounding of scores, which depends on the other examples of a batch."""
    assert first.schema == second.schema
    for one, other in zip(first.to_pylist(), second.to_pylist(), strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def test_predictions_and_errors_equal_those_of_the_service(predict, models, tmp_path):
    images = write_images(tmp_path / "images", 500, broken=3)
    rows = write_rows(tmp_path / "rows.parquet", 500)
    ports = ("--port", 0, "--grpc-port", 0, "--rest-port", 0)
    with serving("serve", "--models", models, *ports, log=tmp_path / "log") as service:
        for model, path in (("toy", images), ("price", rows)):
            predict(path, "-o", tmp_path / model, model=model)
            out = tmp_path / f"{model}.parquet"
            invoke("predict", "--url", service["http"], "--model", model, path, "-o", out)
            here = pq.read_table(tmp_path / model)
            failed = here.filter(pc.is_valid(here["error"])).select(["item", "error"])
            good = here.filter(pc.is_null(here["error"])).drop_columns("error")
            assert len(good) > 300
            assert_same(good, pq.read_table(out))
            assert failed.rename_columns(["item", "reason"]).to_pylist() == [
                json.loads(line) for line in Path(f"{out}.failed.jsonl").read_text().splitlines()
            ]
