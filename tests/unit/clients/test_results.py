"""Results, and their rendering in notebooks."""

from html.parser import HTMLParser

import numpy as np
import pytest

from rockstar_client.results import Answer, answer_of
from tests.contracts import make_contract
from tests.table_models import regression

PROBABILITIES = np.array([[0.1, 0.2, 0.6, 0.1], [0.7, 0.1, 0.1, 0.1]], np.float32)


def classified(**changes) -> Answer:
    return answer_of("toy", make_contract(**changes), PROBABILITIES, 3, {})


def test_classification():
    answer = classified()
    assert [each.label for each in answer.predictions] == ["two", "zero"]
    assert [each.label for each in answer.predictions[0].top] == ["two", "one", "zero"]
    assert answer.predictions[0].score == pytest.approx(0.6)
    np.testing.assert_array_equal(answer.probabilities, PROBABILITIES)
    np.testing.assert_array_equal(answer.predictions[1].probabilities, PROBABILITIES[1])
    assert answer.values == ()
    assert answer == classified()
    with pytest.raises(ValueError, match="read-only"):
        answer.probabilities[0] = 0


def test_no_label_below_the_threshold():
    unsure, sure = classified(threshold=0.65).predictions
    assert (unsure.label, unsure.top[0].label, sure.label) == (None, "two", "zero")
    assert "two is most likely with 0.6" in unsure.reason
    assert (sure.reason, "not sure" in unsure._repr_html_()) == ("", True)


def test_regression():
    answer = answer_of("price", regression(), np.float32([[1.5], [2]]), 3, {})
    assert [each.value for each in answer.values] == [1.5, 2.0]
    assert (answer.predictions, answer.labels, answer.probabilities.shape) == ((), (), (0, 0))


def test_repr():
    (one, _) = classified().predictions
    assert repr(one) == "Prediction('two', 0.6000; two 0.6000, one 0.2000, zero 0.1000)"
    assert "array" not in repr(classified())


class Page(HTMLParser):
    """The texts and bars of an HTML fragment, and whether every element is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.widths: list[str] = []
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.open.append(tag)
        style = dict(attributes).get("style", "")
        if "background" in style:
            self.widths.append(style.rpartition("width:")[2])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_notebooks():
    page = Page(classified().predictions[0]._repr_html_())
    assert page.texts == ["two", "two", "0.6000", "one", "0.2000", "zero", "0.1000"]
    assert page.widths == ["60.0%", "20.0%", "10.0%"]
    whole = Page(classified()._repr_html_())
    assert whole.texts[0] == "toy version 1"
    assert whole.texts.count("0.7000") == 1
    assert "script" not in whole.tags


def test_labels_are_escaped_in_notebooks():
    hostile = "<script>alert('1')</script>", "a & b", "' onload='x", "two"
    page = Page(classified(labels=hostile)._repr_html_())
    assert page.tags <= {"div", "table", "tr", "td", "strong"}
    assert hostile[0] in page.texts


def test_many_inputs_in_notebooks():
    many = answer_of("toy", make_contract(), np.repeat(PROBABILITIES, 50, axis=0), 3, {})
    assert Page(many._repr_html_()).texts[-1] == "and 80 more"
    numbers = answer_of("price", regression(), np.float32([[1.5], [2]]), 3, {})
    assert Page(numbers._repr_html_()).texts == ["price version 1", "0", "1.5", "1", "2"]
