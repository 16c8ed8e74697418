"""Log lines of a server."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from rockstar_serving import logs
from tests.waiting import until

log = logging.getLogger("rockstar_serving.somewhere")


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Those of pytest come back after the test."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers[:] = []
    yield
    root.handlers[:] = before
    root.setLevel(level)


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("text", "model_server")
    log.info("%d models", 2)
    line = capsys.readouterr().err
    assert line.endswith(" INFO model_server: 2 models\n")


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "model_server")
    log.warning("two\nlines: %s", "é", extra={"model": "cnn"})
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    moment = datetime.fromisoformat(entry.pop("timestamp"))
    assert abs((datetime.now(UTC) - moment).total_seconds()) < 60
    assert entry == {
        "level": "WARNING",
        "logger": "rockstar_serving.somewhere",
        "message": "two\nlines: é",
        "model": "cnn",
    }


def test_an_exception_is_one_field(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "model_server")
    try:
        raise ValueError("reason")
    except ValueError:
        log.exception("it failed")
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert entry["message"] == "it failed"
    assert entry["exception"].startswith("Traceback (most recent call last):\n")
    assert entry["exception"].endswith("ValueError: reason")


def test_what_json_cannot_hold_is_logged_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "model_server")
    log.info("%s", "x", extra={"value": {1, 2}, "other": object()})
    entry = json.loads(capsys.readouterr().err)
    assert entry["message"] == "x"


def test_the_latest_call_counts(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "model_server")
    logs.configure("text", "model_server")
    log.info("once")
    assert capsys.readouterr().err.count("once") == 1


class Stream:
    """Remembers what was written at a time."""

    def __init__(self) -> None:
        self.writes: list[str] = []

    def write(self, text: str) -> None:
        self.writes.append(text)

    def flush(self) -> None:
        pass


def log_together() -> Stream:
    stream = Stream()
    logs.configure("text", "gateway")
    logs.write_together()
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)
    return stream


def test_lines_are_written_together_in_their_order() -> None:
    stream = log_together()
    for number in range(500):
        log.info("%d %s", number, "x" * 100)
    until(lambda: "".join(stream.writes).count("\n") == 500)
    lines = "".join(stream.writes).splitlines()
    assert [int(line.split()[3]) for line in lines] == list(range(500))
    assert len(stream.writes) < 100
    # What a pipe takes as a whole, and no line in two writes.
    assert all(len(text) <= 4096 and text.endswith("\n") for text in stream.writes)


def test_a_warning_is_written_at_once_after_what_came_before() -> None:
    stream = log_together()
    log.info("first")
    log.warning("second")
    assert [line.split()[-1] for line in "".join(stream.writes).splitlines()] == ["first", "second"]


def test_nothing_is_lost_at_the_end() -> None:
    stream = log_together()
    log.info("last")
    (handler,) = logging.getLogger().handlers
    handler.flush()
    assert "last" in "".join(stream.writes)
