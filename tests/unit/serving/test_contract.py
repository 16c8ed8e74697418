import json

import pytest

from serving.contract import Contract, ContractError
from serving.preprocessing import Resize
from tests.contracts import make_contract


def document(**changes):
    return json.loads(make_contract().to_json()) | changes


def test_a_contract_survives_json():
    contract = make_contract()
    assert Contract.from_json(contract.to_json()) == contract


def test_steps_are_named_in_json():
    steps = document()["input"]["preprocessing"]
    assert [step["step"] for step in steps][:2] == ["grey", "scale"]
    assert steps[-1] == {"step": "centre", "height": 8, "width": 8}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2}, "schema version 2"),
        ({"colour": "red"}, "unknown field `colour`"),
        ({"task": "poetry"}, "poetry"),
        ({"model": "../etc"}, "$.model"),
        ({"model": 5}, "$.model"),
        ({"version": 0}, "$.version"),
        ({"version": "3"}, "$.version"),
        ({"labels": ["a", "a"]}, "labels"),
        ({"labels": ["a"]}, "labels"),
        ({"created": "yesterday"}, "$.created"),
        ({"created": "2026-01-01T00:00:00"}, "time zone"),
        ({"input": {}}, "$.input"),
        ({"input": document()["input"] | {"kind": "smell"}}, "smell"),
        ({"input": document()["input"] | {"preprocessing": [{"step": "blur"}]}}, "blur"),
        (
            {
                "input": document()["input"]
                | {"preprocessing": [{"step": "fit", "height": 0, "width": 3}]}
            },
            "preprocessing[0].height",
        ),
        (
            {"input": document()["input"] | {"preprocessing": [{"step": "grey", "x": 1}]}},
            "unknown field `x`",
        ),
        ({"data_set": document()["data_set"] | {"sha256": "abc"}}, "$.data_set.sha256"),
    ],
)
def test_what_is_not_known_is_refused_by_its_place(changes, message):
    with pytest.raises(ContractError) as caught:
        Contract.from_json(json.dumps(document(**changes)))
    assert message in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff", b'"x"', b"{}"])
def test_what_is_no_contract_is_refused(text):
    with pytest.raises(ContractError):
        Contract.from_json(text)


def test_a_missing_field_is_named():
    incomplete = document()
    del incomplete["labels"]
    with pytest.raises(ContractError, match="labels"):
        Contract.from_json(json.dumps(incomplete))


def test_contracts_cannot_be_changed():
    with pytest.raises(AttributeError):
        make_contract().version = 2
    with pytest.raises(AttributeError):
        Resize(height=2, width=2).height = 3
