"""promtool, Prometheus' tool for rules."""

import shutil
import subprocess
from pathlib import Path

import pytest


def promtool(*arguments: str | Path) -> None:
    """Run a command, which must succeed; skips the test without promtool."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("needs promtool, of Debian's package prometheus")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
