"""Output: colors and fitting tables on terminals, plain text in pipes, silence without a reader."""

import os
import pty
import subprocess

import pytest

from rockstar_cli.output import table
from tests.command_line import ROOT, start

ESCAPE = "\x1b["
ROWS = [("MODEL", "SIZE", "METRICS"), ("cnn", "40", "test_accuracy 0.99"), ("logistic", "8", "-")]


def on_a_terminal(*arguments: object, **environment: str) -> str:
    """The output of a command on a terminal, by default of 60 columns."""
    mine, theirs = pty.openpty()
    process = start(
        *arguments,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env={"TERM": "xterm", "COLUMNS": "60", "NO_COLOR": "", "FORCE_COLOR": ""} | environment,
    )
    os.close(theirs)
    output = b""
    try:
        while chunk := os.read(mine, 65536):
            output += chunk
    except OSError:  # on Linux: the other end is closed
        pass
    os.close(mine)
    process.wait(30)
    return output.decode()


def piped(*arguments: object, **environment: str) -> str:
    process = start(*arguments, env={"NO_COLOR": "", "FORCE_COLOR": ""} | environment)
    output, errors = process.communicate(timeout=60)
    return f"{output}{errors}"


@pytest.fixture
def check(models):
    """A command that prints failures in red."""
    return "check", "--models", models


def test_a_terminal_gets_colors(check):
    assert ESCAPE in on_a_terminal(*check)


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_without_colors(check, environment):
    output = on_a_terminal(*check, **environment)
    assert "failed" in output
    assert ESCAPE not in output


def test_a_pipe_gets_no_colors(check):
    assert ESCAPE not in piped(*check)


def test_colors_can_be_forced_but_no_color_wins(check):
    assert ESCAPE in piped(*check, FORCE_COLOR="1")
    assert ESCAPE not in piped(*check, FORCE_COLOR="1", NO_COLOR="1")


def test_errors_follow_the_same_rules():
    assert ESCAPE not in piped("trian")
    assert ESCAPE in piped("trian", FORCE_COLOR="1")


def test_a_table_is_cut_on_a_terminal_but_not_in_a_pipe(models):
    lines = on_a_terminal("models", "--models", models).splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= 60
    assert lines[1].endswith("…")
    assert "test_accuracy 0.9100" in piped("models", "--models", models)


def test_json_is_the_same_on_a_terminal(models):
    output = on_a_terminal("models", "--models", models, "--json")
    assert output.replace("\r\n", "\n") == piped("models", "--models", models, "--json")


@pytest.mark.parametrize("arguments", [["--help"], ["models"], ["models", "--help"], ["verify"]])
def test_a_command_exits_silently_without_a_reader(models, arguments):
    process = start(*arguments, cwd=models.parent, env={"PYTHONPATH": str(ROOT)})
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 141
    process.stderr.close()


def test_columns_are_aligned():
    assert table(ROWS, right={1}, width=80).splitlines() == [
        "MODEL     SIZE  METRICS",
        "cnn         40  test_accuracy 0.99",
        "logistic     8  -",
    ]


@pytest.mark.parametrize("width", [33, 30, 24])
def test_lines_fit_the_width(width):
    lines = table(ROWS, right={1}, width=width).splitlines()
    assert max(map(len, lines)) == width
    assert lines[1].endswith("…")


def test_columns_have_a_minimum_width():
    assert "test_ac…" in table(ROWS, width=1)
