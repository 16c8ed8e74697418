"""`rockstar predict` with a real gateway: resuming when killed or interrupted, full disks, output."""

import csv
import dataclasses
import fcntl
import json
import os
import pty
import random
import signal
import struct
import subprocess
import sys
import termios
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import Result

from tests.command_line import invoke
from tests.integration.gateway.conftest import (
    IMAGE,
    ROOT,
    Gateway,
    ToyServer,
    running,
    serving_toy,
)
from tests.shared_data import shared_data
from tests.waiting import until

COMMAND = [sys.executable, "-m", "rockstar_cli", "predict"]


def predict(gateway, *arguments, **options) -> Result:
    """Run the command in this process."""
    return invoke("predict", "--url", gateway.url, *arguments, **options)


@pytest.fixture(scope="module")
def toy_server() -> Iterator[ToyServer]:
    with serving_toy() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(toy_server, host, tmp_path_factory) -> Iterator[Gateway]:
    with one_gateway(toy_server, host, tmp_path_factory) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def any_gateway(toy_server, tmp_path_factory) -> Iterator[Gateway]:
    """For tests of what the command does by itself."""
    with one_gateway(toy_server, "granian", tmp_path_factory) as gateway:
        yield gateway


@contextmanager
def one_gateway(toy_server, host, tmp_path_factory) -> Iterator[Gateway]:
    log = tmp_path_factory.mktemp("gateway") / "log"
    options = ("--model=toy", "--workers=1", "--no-access-log")
    with running(toy_server.port, log, *options, server=host) as gateway:
        yield gateway


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three hundred images, every tenth one broken."""
    folder = tmp_path / "images"
    folder.mkdir()
    for n in range(300):
        (folder / f"{n:03}.png").write_bytes(IMAGE if n % 10 else b"broken")
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_more_than_a_request_may_have(gateway, images, tmp_path):
    out = tmp_path / "out.csv"
    done = predict(gateway, images, "-o", out)
    assert done.exit_code == 4
    assert "300 items, 30 failed, in " in done.stderr
    assert f"Failed items and reasons: {tmp_path}/out.failed.csv" in done.stderr
    assert [row["item"] for row in rows(out)] == [
        f"{images}/{n:03}.png" for n in range(300) if n % 10
    ]
    assert {(row["label"], row["score"], row["version"]) for row in rows(out)} == {
        ("zero", "1.0", "2")
    }
    failed = rows(tmp_path / "out.failed.csv")
    assert [row["item"] for row in failed] == [f"{images}/{n:03}.png" for n in range(0, 300, 10)]
    assert failed[0]["reason"].startswith("expected an image (PNG, ")
    again = predict(gateway, images, "-o", out)
    assert again.exit_code == 1
    assert "already exists; use --restart to replace it" in again.stderr
    printed = predict(gateway, images)
    assert printed.exit_code == 4
    assert len(printed.stdout.splitlines()) == 270
    assert printed.stderr.count("expected an image") == 30


def test_all_kinds_of_input_and_output_are_equivalent(any_gateway, images, tmp_path):
    archive = tmp_path / "images.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(images.iterdir()):
            file.write(path, path.name)
    listed = "".join(f"{path}\n" for path in sorted(images.iterdir()))
    for name, arguments in {
        "folder.csv": [images],
        "archive.jsonl": [archive],
        "stdin.parquet": ["--files-from", "-"],
    }.items():
        assert predict(any_gateway, *arguments, "-o", tmp_path / name, input=listed).exit_code == 4
    expected = rows(tmp_path / "folder.csv")
    lines = [json.loads(line) for line in (tmp_path / "archive.jsonl").read_text().splitlines()]
    for line in lines:
        line["item"] = line["item"].replace(f"{archive}:", f"{images}/")
    table = pq.read_table(tmp_path / "stdin.parquet").to_pylist()
    for found in (lines, table):
        assert [
            {name: str(each[name]) for name in ("item", "label", "score", "version")}
            for each in found
        ] == expected


def state_items(out: Path) -> int:
    return int(json.loads(out.with_name(f"{out.name}.progress").read_bytes())["items"])


@pytest.mark.slow
def test_runs_that_are_killed_end_as_one_that_is_not(any_gateway, toy_server, images, tmp_path):
    """After SIGKILL at random times, nothing is missing or duplicated."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    uncut, out = tmp_path / "uncut.csv", tmp_path / "out.csv"
    small = ["--batch=4", "--concurrency=3"]
    assert predict(any_gateway, images, *small, "-o", uncut).exit_code == 4
    for _ in range(4):
        if not out.exists():
            killed(any_gateway, toy_server, [images, *small, "-o", out], chance)
    if not out.exists():
        done = predict(any_gateway, images, *small, "-o", out)
        assert done.exit_code == 4, f"seed {seed}: {done.stderr}"
    assert out.read_bytes() == uncut.read_bytes(), f"seed {seed}"
    failed = [path.with_name(f"{path.stem}.failed.csv").read_bytes() for path in (out, uncut)]
    assert failed[0] == failed[1], f"seed {seed}"


def killed(gateway, toy_server, arguments, chance) -> None:
    enough = toy_server.predictions + chance.randrange(10, 120)
    process = start(gateway, *arguments)
    until(lambda: toy_server.predictions > enough or process.poll() is not None)
    time.sleep(chance.random() * 0.02)  # at any moment, so there is no condition to wait for
    process.kill()
    process.communicate()


def start(gateway, *arguments) -> subprocess.Popen:
    command = [*COMMAND, "--url", gateway.url, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def test_ctrl_c_keeps_completed_items(any_gateway, toy_server, images, tmp_path):
    out = tmp_path / "out.csv"
    enough = toy_server.predictions + 40
    process = start(any_gateway, images, "--batch=2", "--concurrency=2", "-o", out)
    until(lambda: toy_server.predictions > enough)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command to resume" in said
    assert "Traceback" not in said
    assert state_items(out) > 0
    done = predict(any_gateway, images, "-o", out)
    assert "in earlier runs" in done.stderr
    assert len(rows(out)) == 270


def test_a_service_that_goes_away_is_waited_for(start_gateway, toy_server, images, tmp_path):
    gateway = start_gateway("--workers=1")
    before = toy_server.predictions
    toy_server.proceed.clear()
    process = start(gateway, images, "--batch=20", "--patience=1", "-o", tmp_path / "out.csv")
    until(lambda: toy_server.predictions > before)
    for pid in (gateway.process.pid, *gateway.workers()):
        os.kill(pid, signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    toy_server.proceed.set()
    assert process.returncode == 3
    assert "nothing answers at" in said
    assert "Traceback" not in said


def test_a_run_resumes_after_a_full_disk(any_gateway, images, tmp_path):
    out = tmp_path / "out.csv"
    limited = ["bash", "-c", 'ulimit -f 4; exec "$0" "$@"', *COMMAND]
    command = [*limited, "--url", any_gateway.url, str(images), "--batch=2", "-o", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert "run the same command to resume" in done.stderr
    assert "Traceback" not in done.stderr
    assert "in earlier runs" in predict(any_gateway, images, "-o", out).stderr
    assert len(rows(out)) == 270


def test_bad_arguments_fail_before_anything_is_written(any_gateway, images, tmp_path):
    for arguments, naming in [
        ([tmp_path / "absent", "-o", tmp_path / "o.csv"], "absent: no such file"),
        ([images, "-o", tmp_path / "o.xls"], "ends in .csv, .jsonl, .parquet, got 'o.xls'"),
        ([images, "-o", tmp_path / "no" / "o.csv"], "there is no folder"),
        (
            [ROOT / "clients", "-o", tmp_path / "empty.csv"],
            "nothing to predict: expected files that end in .png",
        ),
        ([images / "001.png", "--restart"], "need -o"),
        (["-o", tmp_path / "o.csv"], "give FILES"),
    ]:
        done = predict(any_gateway, *arguments)
        assert done.exit_code in (1, 2), done.stderr
        assert naming in done.stderr
        assert "Traceback" not in done.stderr
    nothing = dataclasses.replace(any_gateway, url="http://127.0.0.1:1")
    assert predict(nothing, images, "-o", tmp_path / "o.csv").exit_code == 3
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".log") == ["images"]


def test_an_output_that_is_an_input_is_refused(any_gateway, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("a\n1\n")
    done = predict(any_gateway, table, "-o", table, "--restart")
    assert "is an input file" in done.stderr
    assert table.read_text() == "a\n1\n"


def test_names_of_any_bytes_arrive(any_gateway, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in (b"a,b.png", b"c\nd.png", b"\xff.png", 'é "q".png'.encode()):
        (folder / os.fsdecode(name)).write_bytes(IMAGE)
    for suffix in ("csv", "jsonl"):
        assert predict(any_gateway, folder, "-o", tmp_path / f"o.{suffix}").exit_code == 0
    names = [row["item"].removeprefix(f"{folder}/") for row in rows(tmp_path / "o.csv")]
    assert names == ["a,b.png", "c\nd.png", 'é "q".png', r"\udcff.png"]
    lines = [json.loads(line)["item"] for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [line.removeprefix(f"{folder}/") for line in lines] == names
    assert predict(any_gateway, folder).exit_code == 0


def test_people_see_a_bar_and_logs_see_none(any_gateway, images, tmp_path):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [*COMMAND, "--url", any_gateway.url, str(images), "-o", str(tmp_path / "o.csv")]
    process = subprocess.Popen(command, cwd=ROOT, stderr=theirs)
    os.close(theirs)
    said = b""
    try:
        while data := os.read(ours, 4096):
            said += data
    except OSError:
        pass  # Linux: the other end is closed
    process.wait(60)
    os.close(ours)
    assert b"\r0 items [" in said
    assert b"300 items, 30 failed" in said
    assert "\r" not in predict(any_gateway, images, "-o", tmp_path / "p.csv").stderr


def test_real_digits(any_gateway, tmp_path):
    digits = shared_data("digits-png")
    done = predict(any_gateway, digits, "-o", tmp_path / "o.csv")
    assert done.exit_code == 0
    assert "600 items, 0 failed" in done.stderr
    assert [row["item"] for row in rows(tmp_path / "o.csv")] == sorted(
        map(str, digits.glob("*/*.png"))
    )
