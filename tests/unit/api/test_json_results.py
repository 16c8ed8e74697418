"""What classify and regress found, as JSON."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

from tfs_api.json_results import classification, regression


def test_they_look_as_tensorflow_serving_writes_them() -> None:
    scores = np.array([[0.1, 9], [-1e-9, np.nan]], np.float32)
    assert classification([["a", 'b"'], ["é", ""]], scores).decode() == (
        '{\n    "results": [[["a", 0.1], ["b\\"", 9.0]], [["é", -1e-09], ["", NaN]]\n    ]\n}'
    )
    values = np.array([3.5, np.inf, -np.inf, 4], np.float32)
    assert regression(values).decode() == ('{\n    "results": [3.5, Infinity, -Infinity, 4.0]\n}')


def test_labels_that_are_no_utf8_pass_through() -> None:
    label = b"\xff".decode("utf-8", "surrogateescape")
    assert b'"\xff"' in classification([[label]], np.zeros((1, 1), np.float32))


@given(
    labels=st.lists(st.text(max_size=5), min_size=1, max_size=3),
    scores=stnp.arrays(
        np.float32, (3, 3), elements=st.floats(width=32, allow_nan=False, allow_subnormal=True)
    ),
)
def test_any_label_and_score_survives(labels: list[str], scores: np.ndarray) -> None:
    scores = scores[: len(labels), : len(labels)]
    found = json.loads(classification([labels] * len(scores), scores))["results"]
    assert [[label for label, _ in example] for example in found] == [labels] * len(scores)
    back = np.array([[score for _, score in example] for example in found], np.float32)
    np.testing.assert_array_equal(back, scores)
