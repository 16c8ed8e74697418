"""Run `rockstar` in tests: in this process or in another."""

import json
import os
import subprocess
import sys
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
