"""The seeds of the fuzzers, inputs that once failed, and damaged ones; `make fuzz` goes further."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.damage import damaged
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_inputs(name):
    for data in TARGETS[name].inputs(name):
        TARGETS[name].decode(data)


@pytest.mark.parametrize("name", TARGETS)
@given(st.data())
@settings(max_examples=150)
def test_damaged_inputs(name, data):
    TARGETS[name].decode(data.draw(damaged(TARGETS[name].seeds)))
