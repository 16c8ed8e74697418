"""Where output goes: terminals get colours and tables that fit, pipes plain text, and no reader no word."""

import os
import pty
import subprocess

import pytest

from tests.command_line import ROOT, start

ESCAPE = "\x1b["


def on_a_terminal(*arguments: object, **environment: str) -> str:
    """What the command writes to a terminal, of 60 columns where nothing else is said."""
    mine, theirs = pty.openpty()
    process = start(
        *arguments,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env={"TERM": "xterm", "COLUMNS": "60", "NO_COLOR": "", "FORCE_COLOR": ""} | environment,
    )
    os.close(theirs)
    said = b""
    try:
        while chunk := os.read(mine, 65536):
            said += chunk
    except OSError:  # how Linux says that nobody writes any more
        pass
    os.close(mine)
    process.wait(30)
    return said.decode()


def piped(*arguments: object, **environment: str) -> str:
    process = start(*arguments, env={"NO_COLOR": "", "FORCE_COLOR": ""} | environment)
    said, errors = process.communicate(timeout=60)
    return f"{said}{errors}"


@pytest.fixture
def check(models):
    """Fails, in red."""
    return "check", "--models", models


def test_a_terminal_gets_colours(check):
    assert ESCAPE in on_a_terminal(*check)


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_that_wants_none_gets_none(check, environment):
    said = on_a_terminal(*check, **environment)
    assert "failed" in said
    assert ESCAPE not in said


def test_a_pipe_gets_none(check):
    assert ESCAPE not in piped(*check)


def test_a_pipe_gets_them_where_they_are_forced_but_not_wanted_goes_first(check):
    assert ESCAPE in piped(*check, FORCE_COLOR="1")
    assert ESCAPE not in piped(*check, FORCE_COLOR="1", NO_COLOR="1")


def test_errors_follow_the_same_rule():
    assert ESCAPE not in piped("trian")
    assert ESCAPE in piped("trian", FORCE_COLOR="1")


def test_a_table_fits_the_terminal_and_is_whole_in_a_pipe(models):
    lines = on_a_terminal("models", "--models", models).splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= 60
    assert lines[1].endswith("…")
    assert "test_accuracy 0.9100" in piped("models", "--models", models)


def test_json_is_the_same_on_a_terminal(models):
    said = on_a_terminal("models", "--models", models, "--json")
    assert said.replace("\r\n", "\n") == piped("models", "--models", models, "--json")


@pytest.mark.parametrize("arguments", [["--help"], ["models"], ["models", "--help"], ["verify"]])
def test_without_a_reader_it_ends_without_a_word(models, arguments):
    process = start(*arguments, cwd=models.parent, env={"PYTHONPATH": str(ROOT)})
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 141
    process.stderr.close()
