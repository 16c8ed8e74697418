"""Test data outside the repository: its path, or a skipped test."""

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).parents[2] / "shared" / "data"


def shared_data(name: str) -> Path:
    """The path of a file or folder in $ROCKSTAR_DATA_DIR, else in ../shared/data."""
    folder = Path(os.environ.get("ROCKSTAR_DATA_DIR") or _BESIDE)
    path = folder / name
    if not path.exists():
        pytest.skip(f"{name} is not in {folder}: set ROCKSTAR_DATA_DIR to where it lies")
    return path
