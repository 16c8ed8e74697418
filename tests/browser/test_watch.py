"""The page of `rockstar train --watch`, in a real browser."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from rockstar_cli.watch import serve_page
from tests.browser.conftest import checked_page
from tests.waiting import until

FILE = {"event": "file", "epoch": 0}
LOGISTIC = [
    FILE | {"id": "a"},
    {"event": "start", "epoch": 0, "name": "logistic", "model": "logistic", "data": "digits", "labels": ["no", "yes"], "epochs": 9, "controls": True, "sample": "validation", "image": [4, 4, 1]},
    {"event": "rate", "epoch": 0, "value": 0.03},
    {"event": "epoch", "epoch": 1, "loss": 0.5, "val_loss": None, "accuracy": 0.7, "val_accuracy": 0.8, "learning_rate": 0.03},
    {"event": "snapshot", "epoch": 1, "confusion": [3, 1, 0, 4], "images": {"shape": [2, 4, 4, 1], "pixels": base64.b64encode(bytes(range(32))).decode()}},
    {"event": "drawing", "epoch": 1, "scores": [0.2, 0.8], "image": base64.b64encode(bytes(16)).decode()},
    {"event": "failed", "epoch": 1, "message": "the loss became nan"},
]  # fmt: skip
LINEAR: list[dict[str, Any]] = [
    FILE | {"id": "b"},
    {"event": "start", "epoch": 0, "name": "linear", "model": "linear", "data": "csv:a.csv", "labels": [], "epochs": 9, "controls": True, "points": {"x": [-1, 0, 1], "y": [1, 2, 3], "column": "x", "target": "y", "mean": 5, "scale": 2, "start": [0, 0], "moments": [0.667, 0, 0.667, 2, 4.667]}},
    *({"event": "epoch", "epoch": n, "loss": 5 * 0.5**n, "learning_rate": 0.1, "line": [1 - 0.5**n, 2 - 2 * 0.5**n]} for n in (1, 2, 3, 20)),  # of many epochs, some are recorded
]  # fmt: skip


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with checked_page(browser, "http://127.0.0.1:", reduced_motion="reduce") as page:
        yield page


def address(output: Path) -> str:
    """The URL that the command prints."""
    until(lambda: "Watch at http" in output.read_text(), 120)
    return output.read_text().partition("Watch at ")[2].split()[0]


def test_a_training_is_watched_to_its_end(page: Page, tmp_path: Path) -> None:
    output = tmp_path / "output"
    command = [
        sys.executable,
        "-m",
        "rockstar_cli",
        "train",
        "logistic",
        "--watch",
        # Long enough to press buttons meanwhile.
        "--epochs",
        "2000",
        "--patience",
        "0",
        "--workdir",
        str(tmp_path),
    ]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    with (
        output.open("w") as file,
        subprocess.Popen(command, stdout=file, stderr=file, env=environment) as training,
    ):
        page.goto(address(output))
        state = page.locator(".state")
        expect(state).to_contain_text("Preparing")
        slow = page.get_by_role("button", name="Slow motion")
        expect(slow).to_be_visible()
        slow.click()
        expect(slow).to_have_attribute("aria-pressed", "true")
        page.get_by_role("button", name="Pause").click()
        expect(state).to_contain_text("Paused after epoch")
        # The drawing is predicted by the network as it is, and again after the next epoch.
        area = page.get_by_label("Drawing area")
        area.focus()
        page.keyboard.press("Space")
        for _ in range(20):
            page.keyboard.press("ArrowDown")
        page.keyboard.press("Space")
        answer = page.get_by_role("heading", name="after epoch")
        expect(answer).to_be_visible()
        before = answer.text_content()
        page.get_by_role("button", name="Next epoch").click()
        expect(answer).not_to_have_text(str(before))
        page.get_by_role("textbox", name="Learning rate").fill("0,02")
        page.get_by_role("button", name="Set").click()
        page.get_by_role("button", name="Resume").click()
        slow.click()
        expect(slow).to_have_attribute("aria-pressed", "false")
        # Enough to be right about most digits.
        expect(state).to_contain_text(re.compile(r"Training: \d\d+ of"))
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Stop and keep").click()
        finished = re.compile(r"Finished as logistic-1: \d+ epochs, accuracy 0\.9")
        expect(state).to_contain_text(finished)
        expect(page.get_by_role("status")).to_contain_text("Finished as logistic-1")
        assert training.wait(60) == 0
    assert "changed by request, at last to 0.02" in output.read_text()
    # What was shown stays.
    latest = re.compile(r"^1 after epoch \d+$")
    expect(answer).to_have_text(latest)
    shown = str(answer.text_content())
    expect(page.get_by_role("img", name="Weights of 7")).to_be_visible()
    expect(page.get_by_role("img", name="Loss. training: from")).to_be_visible()
    table = page.get_by_role("table", name="examples are right")
    expect(table.get_by_role("cell")).to_have_count(100)
    diagonal = [int(text) for text in table.locator(".right").all_text_contents()]
    assert sum(diagonal) > 55
    page.get_by_label("Epoch", exact=True).fill("1")
    expect(answer).not_to_have_text(shown)
    page.get_by_role("button", name="Latest").click()
    expect(answer).to_have_text(shown)


def test_the_page_tells_that_the_server_is_gone_and_comes_back(page: Page, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "cnn-1"
    run.mkdir(parents=True)
    start = '{"event":"start","epoch":0,"name":"cnn","model":"cnn","data":"digits","labels":[],"epochs":9,"controls":true}\n'
    epoch = '{"event":"epoch","epoch":1,"loss":0.5}\n'
    (run / "events.jsonl").write_text('{"event":"file","id":"a"}\n' + start + epoch)
    command = [sys.executable, "-m", "rockstar_cli", "watch", "--workdir", str(tmp_path)]
    output = tmp_path / "output"
    lost = page.get_by_text("This page tries to reach it again")
    stopped = '{"event":"interrupted","epoch":1,"message":"Training stopped."}\n'
    for interrupted in (True, False):
        with (
            output.open("w") as file,
            subprocess.Popen(command, stdout=file, stderr=file) as server,
        ):
            url = address(output)
            if page.url == "about:blank":
                page.goto(url)
            if url != page.url:
                pytest.skip("another process took the port")
            expect(page.locator(".state")).to_contain_text(
                "has ended after epoch 1 without a result"
            )
            expect(lost).to_be_hidden()
            if interrupted:
                with (run / "events.jsonl").open("a") as file_:
                    file_.write(stopped)
                expect(page.locator(".state")).to_have_text("Training stopped. This page follows.")
            server.send_signal(signal.SIGINT)
        if interrupted:  # and continued by the same command
            with (run / "events.jsonl").open("a") as file_:
                file_.write(start.replace('"epoch":0', '"epoch":1'))
    expect(lost).to_be_visible()


def test_two_runs_side_by_side(page: Page, tmp_path: Path) -> None:
    folders = [tmp_path / "runs" / name for name in ("linear-1", "logistic-1")]
    for folder, events in zip(folders, (LINEAR, LOGISTIC), strict=True):
        folder.mkdir(parents=True)
        (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    with serve_page(tmp_path / "runs", folders) as (url, _):
        page.goto(str(url))
        expect(page.get_by_text("Training failed: the loss became nan")).to_be_visible()
        expect(page.get_by_text("After epoch 20: W = 1, b = 2")).to_be_visible()
        # In columns, beside rules of the gateway's pages.
        (chart,) = page.locator("section", has=page.get_by_role("heading", name="Loss")).all()
        box = chart.bounding_box()
        assert box is not None
        assert box["width"] < 500
        page.get_by_label("Epoch", exact=True).fill("2")
        expect(page.get_by_text("After epoch 2: W = 0.75, b = 1.5")).to_be_visible()
        # The other run alone.
        page.get_by_label("Compare with").select_option("no other run")
        expect(page.get_by_text("Training failed")).to_be_hidden()
        page.get_by_label("Compare with").select_option("logistic-1")
        expect(page.get_by_role("heading", name="yes after epoch 1")).to_be_visible()
