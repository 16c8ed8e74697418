import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rockstar import cli
from tests.registries import add_version

ROOT = Path(__file__).parents[3]
CREATED = datetime(2026, 5, 4, 3, 2, tzinfo=UTC)


def invoke(*arguments: object, **options) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(cli, [*map(str, arguments)], **options)


def invoke_json(*arguments: object) -> dict:
    """Run the command, which shall end well, for the one document that it prints."""
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith("\n")
    (line,) = result.stdout.splitlines()
    document: dict = json.loads(line)
    return document


def start(*arguments: object, **options) -> subprocess.Popen:
    """Start the command as a process."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | options.pop("env", {})
    command = [sys.executable, "-m", "rockstar", *map(str, arguments)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.Popen(command, env=environment, **options)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with versions 1 to 3 of a model `cnn`; their LiteRT files are none."""
    folder = tmp_path / "models"
    for version in (1, 2, 3):
        metrics = {"test_accuracy": 0.9 + version / 100, "train_accuracy": 1.0}
        add_version(folder, "cnn", version, metrics=metrics, created=CREATED)
    return folder
