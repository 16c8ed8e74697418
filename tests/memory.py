"""The memory of this process."""

import re
from pathlib import Path

import pytest

_STATUS = Path("/proc/self/status")


def resident_mb() -> float:
    """The resident set in MB; skips the test without /proc."""
    if not _STATUS.exists():
        pytest.skip("the resident set is read from /proc")
    found = re.search(r"VmRSS:\s+(\d+) kB", _STATUS.read_text())
    assert found
    return int(found[1]) / 1024
