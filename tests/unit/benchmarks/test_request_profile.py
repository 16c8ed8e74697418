"""The stages of a request name files and packages that exist."""

from pathlib import Path

import pytest

from benchmarks.request_profile import INNERMOST, WITHIN

ROOT = Path(__file__).parents[3]
OUR_FILES = [
    file for files in WITHIN.values() for file in files if "/" in file and file.endswith(".py")
]
OUR_PACKAGES = [place for place in INNERMOST if place.startswith("rockstar_")]


@pytest.mark.parametrize("place", [*OUR_FILES, *OUR_PACKAGES])
def test_stages_name_existing_files(place):
    found = [*ROOT.glob(f"*/{place}"), *ROOT.glob(f"serving/rockstar_serving/{place}")]
    assert len(found) == 1
