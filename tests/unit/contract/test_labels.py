import numpy as np

from rockstar_contract.labels import Score, Value, predictions, values


def test_labels_come_in_order_of_probability():
    first, second = predictions(
        np.array([[0.1, 0.7, 0.2], [0.4, 0.3, 0.3]], np.float32), ("a", "b", "c"), top=2
    )
    assert (first.label, [score.label for score in first.top]) == ("b", ["b", "c"])
    assert second.top == (Score("a", second.score), Score("b", second.top[1].score))


def test_no_more_labels_than_there_are():
    (only,) = predictions(np.array([[0.5, 0.5]]), ("a", "b"), top=9)
    assert [score.label for score in only.top] == ["a", "b"]


def test_a_regression_answers_a_number_for_each_row():
    assert values(np.array([[3.25], [-1.0]], np.float32)) == [Value(3.25), Value(-1.0)]


def test_below_the_threshold_there_is_a_reason_instead_of_a_label():
    rows = np.array([[0.5, 0.3, 0.2], [0.4, 0.35, 0.25], [np.nan] * 3], np.float32)
    sure, unsure, broken = predictions(rows, ("a", "b", "c"), threshold=0.5)
    assert (sure.label, sure.reason) == ("a", "")
    assert (unsure.label, unsure.top[0].label) == (None, "a")
    assert "a is likeliest with 0.4, the threshold is 0.5" in unsure.reason
    assert broken.label is None
