"""Run `rockstar` in tests: in this process or in another."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from click.testing import CliRunner, Result

from rockstar_cli.__main__ import cli

ROOT = Path(__file__).parents[1]


def invoke(*arguments: object, **options) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(cli, [*map(str, arguments)], **options)


def invoke_json(*arguments: object) -> dict:
    """Run the command successfully; return the JSON document that it prints."""
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith("\n")
    (line,) = result.stdout.splitlines()
    document: dict = json.loads(line)
    return document


def start(*arguments: object, **options) -> subprocess.Popen:
    """Start the command in another process."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | options.pop("env", {})
    command = [sys.executable, "-m", "rockstar_cli", *map(str, arguments)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.Popen(command, env=environment, **options)


@contextmanager
def serving(*arguments: object, log: Path) -> Iterator[dict]:
    """Start a serving command; yields the document that it prints. It must print no more, and stop."""
    with log.open("w") as file, start(*arguments, "--json", stderr=file) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=30)
    assert (process.returncode, output) == (0, "")
