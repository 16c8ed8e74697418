"""Arrays of every supported dtype for hypothesis, and their comparison."""

from typing import Any

import ml_dtypes
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

from tfs_api.tensors import WIRE_TYPES

DTYPES = [wire.dtype for wire in WIRE_TYPES.values()]
SHAPES = stnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)

STRINGS = st.binary(max_size=5)

quick = settings(max_examples=30)
# For tests that draw a dtype.
thorough = settings(max_examples=200)


def arrays(
    dtype: np.dtype[Any],
    shapes: st.SearchStrategy[Any] = SHAPES,
    strings: st.SearchStrategy[bytes] = STRINGS,
) -> st.SearchStrategy[Any]:
    """Arrays of a dtype with any of its values."""
    if dtype.kind == "O":
        return stnp.arrays(dtype, shapes, elements=strings, fill=st.nothing())
    if dtype == ml_dtypes.bfloat16:
        return stnp.arrays(np.uint16, shapes).map(lambda bits: bits.view(ml_dtypes.bfloat16))
    return stnp.arrays(dtype, shapes)


def same(left: Any, right: Any) -> None:
    """Fail unless dtype, shape and values are the same; -0.0 is not 0.0, NaN is NaN."""
    assert left.dtype == right.dtype
    assert left.shape == right.shape
    if left.dtype == object:
        assert left.tolist() == right.tolist()
    else:
        with np.errstate(invalid="ignore"):  # signaling NaNs
            nan_left, nan_right = left != left, right != right
        np.testing.assert_array_equal(nan_left, nan_right)
        assert np.where(nan_left, 0, left).tobytes() == np.where(nan_right, 0, right).tobytes()
