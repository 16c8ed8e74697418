"""`rockstar predict` and `bench` against services that answer what a test tells them."""

import json

import pytest

from tests.command_line import invoke
from tests.images import png, stroke
from tests.unit.clients.http_server import Server, answer, problem, running

MODELS = answer("200 OK", b'{"models": []}', Content_Type="application/json")


def predictions(*labels: str) -> bytes:
    found = [{"label": label, "score": 1.0, "top": []} for label in labels]
    body = json.dumps({"version": 2, "predictions": found}).encode()
    return answer("200 OK", body, Content_Type="application/json")


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "seven.png"
    path.write_bytes(png(stroke()))
    return path


def test_names_and_labels_reach_a_terminal_without_what_moves_its_cursor(tmp_path, image):
    wild = image.rename(tmp_path / "a\x1b[2J\nb.png")
    empty = tmp_path / "c\x1b.png"
    empty.write_bytes(b"")
    with running(Server([MODELS, predictions("\x1b[1mse\tt", "x")])) as server:
        result = invoke("predict", "--model", "toy", "--url", server.url, wild, empty)
        failed = invoke("predict", "--model", "toy", "--url", server.url, f"{wild}.absent")
    assert rf"{tmp_path}/a\x1b[2J\nb.png" in result.stdout
    assert r"\x1b[1mse\tt" in result.stdout
    assert r"a\x1b[2J b.png.absent" in failed.stderr
    for said in (result, failed):
        assert "\x1b" not in said.output
