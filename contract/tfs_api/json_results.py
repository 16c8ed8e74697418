"""What classify and regress found as JSON, as TensorFlow Serving's REST API writes it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tfs_api.json_decimals import decimals
from tfs_api.json_response import encode


def classification(labels: Sequence[Sequence[str]], scores: NDArray[np.float32]) -> bytes:
    """Pairs of label and score.

    Args:
        labels: of each example, those of its classes.
        scores: float32 [examples, classes].
    """
    examples = [
        list(zip(*each, strict=True))
        for each in zip(labels, decimals(scores).tolist(), strict=True)
    ]
    return b'{\n    "results": ' + encode(examples)[:-1] + b"\n    ]\n}"


def regression(values: NDArray[np.float32]) -> bytes:
    """A number for each example.

    Args:
        values: float32 [examples].
    """
    return b'{\n    "results": ' + encode(decimals(values).tolist()) + b"\n}"
