"""The seeds of the fuzzers, and inputs that once failed."""

import pytest

from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_inputs(name):
    for data in TARGETS[name].inputs(name):
        TARGETS[name].decode(data)
