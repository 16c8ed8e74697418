"""The page of `rockstar train --watch`, in a real browser."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from tests.waiting import until


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page; an error in it fails the test, and so does a request to another host."""
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))

    def request(request: Request) -> None:
        if not request.url.startswith("http://127.0.0.1:"):
            errors.append(request.url)

    page.on("request", request)
    yield page
    context.close()
    assert not errors


def address(output: Path) -> str:
    """The URL that the command prints."""
    until(lambda: "Watch at http" in output.read_text(), 60)
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
        "--epochs",
        "12",
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
        expect(state).to_contain_text("Finished as logistic-1: 12 epochs, accuracy 0.9")
        expect(page.get_by_role("status")).to_contain_text("Finished as logistic-1")
        assert training.wait(60) == 0
    assert "changed by request, at last to 0.02" in output.read_text()
    # What was shown stays.
    expect(answer).to_have_text("1 after epoch 12")
    expect(page.get_by_role("img", name="Weights of 7")).to_be_visible()
    expect(page.get_by_role("img", name="Loss. training: from")).to_be_visible()
    table = page.get_by_role("table", name="examples are right")
    expect(table.get_by_role("cell")).to_have_count(101)
    diagonal = [int(text) for text in table.locator(".right").all_text_contents()]
    assert sum(diagonal) > 55
    page.get_by_label("Epoch", exact=True).fill("1")
    expect(answer).not_to_have_text("1 after epoch 12")
    page.get_by_role("button", name="Latest").click()
    expect(answer).to_have_text("1 after epoch 12")


def test_the_page_tells_that_the_server_is_gone_and_comes_back(page: Page, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "cnn-1"
    run.mkdir(parents=True)
    start = '{"event":"start","epoch":0,"name":"cnn","model":"cnn","data":"digits","labels":[],"epochs":9,"controls":true}\n'
    epoch = '{"event":"epoch","epoch":1,"loss":0.5}\n'
    (run / "events.jsonl").write_text('{"event":"file","id":"a"}\n' + start + epoch)
    command = [sys.executable, "-m", "rockstar_cli", "watch", "--workdir", str(tmp_path)]
    output = tmp_path / "output"
    lost = page.get_by_text("This page tries to reach it again")
    for _ in range(2):
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
            server.send_signal(signal.SIGINT)
        expect(lost).to_be_visible()
