import json
from functools import reduce
from operator import getitem

import numpy as np
import pytest

from rockstar_contract.contract import (
    Contract,
    ContractError,
    Score,
    Value,
    label_probabilities,
    to_values,
)
from tests.contracts import make_contract
from tests.table_models import regression, table_classifier


def document():
    return json.loads(make_contract().to_json())


def changed(contract, place, value):
    """The document of a contract with another value at a place, such as input.shape."""
    whole = json.loads(contract.to_json())
    *way, last = (int(step) if step.isdecimal() else step for step in place.split("."))
    within = reduce(getitem, way, whole)
    within[last] = value
    return json.dumps(whole)


@pytest.mark.parametrize("contract", [make_contract(), table_classifier(), regression()])
def test_contract_round_trip(contract):
    assert Contract.from_json(contract.to_json()) == contract


def test_steps_are_named_in_json():
    steps = document()["input"]["preprocessing"]
    assert [step["step"] for step in steps][:2] == ["grey", "scale"]
    assert steps[-1] == {"step": "centre", "height": 8, "width": 8}


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("schema_version", 2, "schema version 2"),
        ("color", "red", "unknown field `color`"),
        ("task", "poetry", "poetry"),
        ("model", "../etc", "$.model"),
        ("model", 5, "$.model"),
        ("version", 0, "$.version"),
        ("version", "3", "$.version"),
        ("labels", ["a", "a"], "labels"),
        ("labels", ["a"], "labels"),
        ("created", "yesterday", "$.created"),
        ("created", "2026-01-01T00:00:00", "time zone"),
        ("input", {}, "$.input"),
        ("threshold", 1.5, "$.threshold"),
        ("confusion", [[1, 2], [3, 4]], "confusion must have a row and a column"),
        ("confusion", [[1, 2]] * 4, "confusion must have a row and a column"),
        ("input.kind", "smell", "smell"),
        ("input.preprocessing.0", {"step": "blur"}, "blur"),
        ("input.preprocessing.5.height", 0, "preprocessing[5].height"),
        ("input.preprocessing.0", {"step": "grey", "x": 1}, "unknown field `x`"),
        ("data_set.sha256", "abc", "$.data_set.sha256"),
    ],
)
def test_invalid_fields_are_named(place, value, message):
    with pytest.raises(ContractError) as caught:
        Contract.from_json(changed(make_contract(), place, value))
    assert message in str(caught.value)


NAME_IN_LATIN_1 = make_contract().to_json().encode().replace(b'"toy"', b'"t\xf6y"')


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b"\xff", b'"x"', b"{}", NAME_IN_LATIN_1, b'{"a":' + b"[" * 9999],
)
def test_other_documents_are_rejected(text):
    with pytest.raises(ContractError):
        Contract.from_json(text)


def test_a_missing_field_is_named():
    incomplete = document()
    del incomplete["labels"]
    with pytest.raises(ContractError, match="labels"):
        Contract.from_json(json.dumps(incomplete))


def test_output_depends_on_task():
    assert (make_contract().output, make_contract().output_width) == ("probabilities", 4)
    assert (regression().output, regression().output_width) == ("prediction", 1)


def test_columns_are_tagged_in_json():
    columns = json.loads(table_classifier().to_json())["input"]["columns"]
    number = {"kind": "numeric", "name": "petal width", "mean": 1.0, "scale": 0.5, "fill": 1.0}
    assert columns[0] == number
    assert columns[1]["kind"] == "categorical"


@pytest.mark.parametrize(
    ("contract", "place", "value", "message"),
    [
        (table_classifier(), "input.shape", [5], "shape must be [4]"),
        (table_classifier(), "input.columns.0.scale", 0, "columns[0].scale"),
        (table_classifier(), "input.columns.0.kind", "smell", "smell"),
        (table_classifier(), "input.columns.0.name", "color", "different names"),
        (table_classifier(), "input.columns.1.categories", ["a", "a", "b"], "must be different"),
        (table_classifier(), "input.columns.1.categories", [], "columns[1].categories"),
        (table_classifier(), "input.range", [0, 1], "unknown field `range`"),
        (table_classifier(), "labels", [], "labels"),
        (regression(), "labels", ["a", "b"], "labels must be empty"),
        (regression(), "target", None, "needs target"),
        (regression(), "statistics.target", None, "statistics.target"),
    ],
)
def test_invalid_table_contracts_are_rejected(contract, place, value, message):
    with pytest.raises(ContractError) as caught:
        Contract.from_json(changed(contract, place, value))
    assert message in str(caught.value)


def test_labels_are_in_order_of_probability():
    first, second = label_probabilities(
        np.array([[0.1, 0.7, 0.2], [0.4, 0.3, 0.3]], np.float32), ("a", "b", "c"), top=2
    )
    assert (first.label, [score.label for score in first.top]) == ("b", ["b", "c"])
    assert second.top == (Score("a", second.score), Score("b", second.top[1].score))


def test_top_exceeds_number_of_labels():
    (only,) = label_probabilities(np.array([[0.5, 0.5]]), ("a", "b"), top=9)
    assert [score.label for score in only.top] == ["a", "b"]


def test_values_of_a_regression():
    assert to_values(np.array([[3.25], [-1.0]], np.float32)) == [Value(3.25), Value(-1.0)]


def test_reason_below_threshold():
    rows = np.array([[0.5, 0.3, 0.2], [0.4, 0.35, 0.25], [np.nan] * 3], np.float32)
    sure, unsure, broken = label_probabilities(rows, ("a", "b", "c"), threshold=0.5)
    assert (sure.label, sure.reason) == ("a", "")
    assert (unsure.label, unsure.top[0].label) == (None, "a")
    assert "a is most likely with 0.4, but the threshold is 0.5" in unsure.reason
    assert broken.label is None
