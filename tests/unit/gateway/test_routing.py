"""Aliases, splits and shadows."""

import collections
import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rockstar_client.errors import call_error
from rockstar_contract.errors import InvalidInputError
from rockstar_serving.gateway.observers import Comparison
from rockstar_serving.gateway.routes_file import Arm
from rockstar_serving.gateway.routing import WAITING, Shadows, _at, _place, compare
from tests.contracts import LABELS, make_contract
from tests.table_models import table_classifier
from tests.unit.gateway.conftest import post
from tests.waiting import until
from tfs_api.status import Code


@pytest.fixture
def routed(config, server, notes, tmp_path, create_gateway):
    """The gateway with a routes file, in front of versions 1 to 3 of the toy."""
    server.versions |= {2: make_contract(version=2), 3: make_contract(version=3)}

    def routed(text: str):
        path = tmp_path / "routes.toml"
        path.write_text(text)
        settings = dataclasses.replace(config, routes=str(path))
        return create_gateway(settings, server, observers=[notes]).test_client()

    return routed


def answered(http, path="/predict/toy", **headers) -> int:
    response = post(http, path, **headers)
    assert response.status_code == 200, response.text
    version: int = response.get_json()["version"]
    return version


SPLIT = "[models.toy]\nsplit = [{ version = 1, weight = 3 }, { label = 'canary', weight = 1 }]\n"


def test_a_split_shares_requests_by_weight(routed, server):
    server.labels = {"canary": 2}
    http = routed(SPLIT)
    counts = collections.Counter(answered(http) for _ in range(200))
    assert set(counts) == {1, 2}
    assert 0.6 < counts[1] / 200 < 0.9


def test_a_named_version_or_label_is_not_split(routed, server):
    server.labels = {"canary": 2}
    http = routed(SPLIT)
    assert {answered(http, "/predict/toy?version=3") for _ in range(20)} == {3}
    assert {answered(http, "/predict/toy?label=canary") for _ in range(20)} == {2}


def test_the_same_header_gets_the_same_version(routed, server):
    server.labels = {"canary": 2}
    http = routed(SPLIT + "sticky = 'X-User'\n")
    versions = {user: answered(http, **{"X-User": user}) for user in map(str, range(30))}
    assert set(versions.values()) == {1, 2}
    assert versions == {user: answered(http, **{"X-User": user}) for user in versions}
    # Without the header it is random.
    assert {answered(http) for _ in range(60)} == {1, 2}


def test_few_change_hands_when_weights_move_a_little():
    users = [_place("toy", str(user)) for user in range(2000)]

    def canaries(weight: float) -> set[float]:
        split = (Arm(label="stable", weight=100 - weight), Arm(label="canary", weight=weight))
        return {user for user in users if _at(user, split).label == "canary"}

    assert canaries(5) < canaries(10)
    assert 60 < len(canaries(5)) < 140


def test_all_calls_of_a_request_go_to_the_same_version(routed, server):
    """Inputs are preprocessed by the contract of the version that responds."""
    server.versions = {1: make_contract(), 2: make_contract(version=2, labels=("a", "b"))}
    server.labels = {"canary": 2}
    http = routed(SPLIT)
    for _ in range(40):
        answer = post(http).get_json()
        assert (answer["predictions"][0]["label"] in LABELS) == (answer["version"] == 1)
    assert server.contract_reads == 2


def test_a_missing_version_is_skipped(routed, server, caplog):
    http = routed(SPLIT)
    before = server.contract_reads
    assert {answered(http) for _ in range(30)} == {1}
    assert "label canary of model toy, to which a route leads, is not there" in caplog.text
    # It is not requested each time.
    assert server.contract_reads - before <= 3


def test_without_any_of_its_versions_the_newest_is_used(routed):
    http = routed(
        "[models.toy]\nsplit = [{ version = 8, weight = 3 }, { version = 9, weight = 1 }]"
    )
    assert answered(http) == 3


def test_a_failure_is_not_passed_over(routed, server):
    http = routed(SPLIT)
    server.failure = call_error(Code.UNAVAILABLE, "down")
    assert post(http).status_code == 503


def test_aliases(routed, server):
    server.labels = {"canary": 2}
    http = routed(
        "[aliases]\nnumbers = 'toy'\npreview = { model = 'toy', label = 'canary' }\n"
        "old = { model = 'toy', version = 1 }"
    )
    assert answered(http, "/predict/numbers") == 3
    assert answered(http, "/predict/preview") == 2
    assert answered(http, "/predict/old") == 1
    assert answered(http, "/predict/old?version=2") == 2
    answer = post(http, "/predict/old").get_json()
    assert answer["model"] == "old"


def test_an_alias_of_a_split_is_split(routed, server):
    server.labels = {"canary": 2}
    http = routed("[aliases]\nnumbers = 'toy'\n" + SPLIT)
    assert {answered(http, "/predict/numbers") for _ in range(60)} == {1, 2}


def test_a_split_hides_no_version(routed, server):
    http = routed(SPLIT)
    (model,) = http.get("/v1/models").get_json()["models"]
    assert [version["version"] for version in model["versions"]] == [3, 2, 1]
    missing = post(http, "/predict/toy?version=9").get_json()
    assert "(3, 2, 1)" in missing["expected"]


def test_the_largest_batch_of_a_model(routed, server):
    http = routed("[models.toy]\nmax_batch = 2\n")
    server.hold = {3}
    server.proceed.clear()
    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(answered, http.application.test_client()) for _ in range(6)]
        until(lambda: server.entered == 3)
        server.proceed.set()
        assert [answer.result() for answer in answers] == [3] * 6
    sizes = [len(batch) for batch in server.batches]
    assert (max(sizes), sum(sizes)) == (2, 6)


SHADOW = "[models.toy]\nshadow = { version = 1 }\n"


def test_a_shadow_is_compared_in_the_background(routed, server, notes):
    http = routed(SHADOW)
    server.hold = {1}
    server.proceed.clear()
    assert answered(http) == 3
    assert notes.comparisons == []
    server.proceed.set()
    until(lambda: notes.comparisons)
    assert notes.comparisons == [Comparison("toy", Code.OK, rows=1, agreed=1)]


def test_copies_are_not_made_without_end(routed, server, notes):
    http = routed(SHADOW)
    server.hold = {1}
    server.proceed.clear()
    asked = WAITING + 10
    for _ in range(asked):
        assert answered(http) == 3
    dropped = [each for each in notes.comparisons if each.code is Code.RESOURCE_EXHAUSTED]
    assert len(dropped) >= 9
    server.proceed.set()
    until(lambda: len(notes.comparisons) == asked)


def test_a_shadow_with_labels_in_another_order_is_compared_by_name(routed, server, notes):
    server.versions = {
        1: make_contract(labels=(*LABELS[1:], LABELS[0])),
        3: make_contract(version=3),
    }
    answered(routed(SHADOW))
    until(lambda: notes.comparisons)
    # The toy's first probability is the image's mean, so each order gives a different one.
    (comparison,) = notes.comparisons
    assert (comparison.code, comparison.rows, comparison.agreed) == (Code.OK, 1, 0)


def test_a_shadow_with_another_input_leaves_the_response_alone(routed, server, monkeypatch):
    def at_once(_shadows: Shadows, _model: str, copy: Callable[[], Comparison]) -> None:
        with pytest.raises(InvalidInputError):
            copy()

    monkeypatch.setattr(Shadows, "offer", at_once)
    server.versions[1] = table_classifier()
    response = post(routed(SHADOW), "/predict/toy?partial=true").get_json()
    assert "label" in response["predictions"][0]


def test_a_failed_shadow_is_recorded(routed, server, notes):
    del server.versions[1]
    assert answered(routed(SHADOW)) == 3
    until(lambda: notes.comparisons)
    assert notes.comparisons == [Comparison("toy", Code.NOT_FOUND)]


def test_a_share_of_the_requests_is_copied(routed, notes):
    http = routed("[models.toy]\nshadow = { version = 1, share = 0.3 }\n")
    for _ in range(100):
        answered(http)
    until(lambda: len(notes.comparisons) > 5)
    assert len(notes.comparisons) < 70


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        ([[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4], [0.7, 0.3]], (2, 1)),
        ([[1.0], [2.0]], [[1.001], [2.5]], (2, 1)),
        ([1, 2], [1, 2], (2, 2)),
    ],
)
def test_answers_are_compared_row_by_row(one, two, expected):
    found = compare("toy", {"y": np.array(one)}, {"y": np.array(two)})
    assert (found.rows, found.agreed) == expected


def test_answers_that_cannot_be_compared():
    y = {"y": np.zeros((2, 2))}
    for other in ({"z": np.zeros((2, 2))}, {"y": np.zeros((2, 3))}):
        assert compare("toy", y, other).code is Code.FAILED_PRECONDITION
