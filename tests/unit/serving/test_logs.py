"""Log lines of a server."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from rockstar_serving import logs

log = logging.getLogger("rockstar_serving.somewhere")


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Remove the root logger's handlers; pytest's are restored after the test."""
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


def test_values_that_json_cannot_represent_are_logged_anyway(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("json", "model_server")
    log.info("%s", "x", extra={"value": {1, 2}, "other": object()})
    entry = json.loads(capsys.readouterr().err)
    assert entry["message"] == "x"


def test_the_latest_call_counts(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "model_server")
    logs.configure("text", "model_server")
    log.info("once")
    assert capsys.readouterr().err.count("once") == 1
