"""Arrays that already are what a model takes."""

import numpy as np
import pytest

from rockstar_contract.errors import InvalidInputError
from rockstar_contract.inputs import prepare
from tests.contracts import make_contract

SPEC = make_contract().input
ULP = float(np.spacing(np.float32(1)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("value", "taken"),
    [
        (1.0, 1.0),
        (1 + 2**-52, 1.0),
        (1 + ULP, 1.0),
        (1 + 4 * ULP, 1.0),
        (-1e-17, 0.0),
        (-ULP, 0.0),
        (-0.0, 0.0),
    ],
)
def test_what_leaves_the_range_by_rounding_is_taken_as_its_end(dtype, value, taken):
    """As float32 arithmetic, averaging and interpolation leave it."""
    array = np.full(SPEC.shape, value, dtype)
    prepared = prepare(array, SPEC, field="x")
    assert prepared.dtype == np.float32
    np.testing.assert_array_equal(prepared, np.full(SPEC.shape, taken, np.float32))
    np.testing.assert_array_equal(array, np.full(SPEC.shape, value, dtype))
    np.testing.assert_array_equal(prepare(array.tolist(), SPEC, field="x"), prepared)


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (1.001, "0 to 1.001"),
        (-0.001, "-0.001 to 0"),
        (255, "0 to 255"),
        (np.nan, "NaN"),
        (np.inf, "infinity"),
        (-np.inf, "infinity"),
    ],
)
def test_what_is_further_away_is_refused_and_shown(value, got):
    array = np.zeros(SPEC.shape)
    array[0, 0] = value
    with pytest.raises(InvalidInputError, match="values from 0 to 1") as caught:
        prepare(array, SPEC, field="x")
    assert got in caught.value.got
