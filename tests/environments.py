"""Environments of their own for packages that cannot live beside ours."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest


def environment(config: pytest.Config, name: str, requirements: list[str]) -> Path:
    """The interpreter of an environment with some packages; kept between test runs.

    Skips the test where they cannot be installed: without a network.
    """
    folder = config.cache.mkdir(f"{name}-{sys.version_info[1]}")
    interpreter = folder / "bin" / "python"
    installed = folder / "installed"
    if not installed.exists() or installed.read_text() != " ".join(requirements):
        venv.create(folder, with_pip=True, clear=True)
        command = [str(interpreter), "-m", "pip", "install", "--quiet", *requirements]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"{name} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
        installed.write_text(" ".join(requirements))
    return interpreter
