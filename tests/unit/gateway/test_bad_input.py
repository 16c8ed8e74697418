"""Problem documents for bad arguments, names and failures; bodies: test_malformed_bodies.py."""

import pytest

from rockstar_client.errors import call_error
from tests.unit.gateway.conftest import post
from tfs_api.status import Code

ANYWHERE = [
    ("version=0", "version"),
    ("version=x", "version"),
    ("version=-1", "version"),
    ("version=٣", "version"),
    ("version=99999999999999999999", "version"),
    ("version=9999999999999999999", "version"),
    ("verson=1", "verson"),
    ("label=", "label"),
    ("label=stable&version=1", "label"),
    ("version=1&version=2", "version"),
]
ARGUMENTS = {
    "/predict/toy": [
        *ANYWHERE,
        ("top=0", "top"),
        ("top=1.5", "top"),
        ("top=3&strict=true&top=3", "top"),
        ("top=" + "9" * 5000, "top"),
        ("threshold=2", "threshold"),
        ("threshold=", "threshold"),
        ("threshold=nan", "threshold"),
        ("partial=maybe", "partial"),
        ("of=zero", "of"),
    ],
    "/explain/toy": [*ANYWHERE, ("of=horse", "of"), ("top=3", "top")],
}


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [(path, *case) for path, cases in ARGUMENTS.items() for case in cases],
)
def test_bad_arguments(shared_http, path, query, field):
    response = post(shared_http, f"{path}?{query}")
    assert response.status_code == 400
    problem = response.get_json()
    assert problem["field"] == field
    assert all(problem[member] for member in ("expected", "got", "hint"))


@pytest.mark.parametrize("seconds", ["0", "-1", "10s", "61", "nan", "inf", "", "1_0", "٣", "1e400"])
def test_a_bad_timeout_is_named_on_every_route(shared_http, seconds):
    paths = shared_http.get("/openapi.json").get_json()["paths"]
    for path, item in paths.items():
        for method in item:
            response = shared_http.open(
                path.format(model="toy", version=1, label="stable"),
                method=method.upper(),
                headers={"X-Request-Timeout": seconds},
            )
            assert response.status_code == 400, path
            error = response.get_json()
            text = error["error"] if path.startswith(("/v2", "/v1/models/")) else error["detail"]
            assert text.startswith("X-Request-Timeout: expected seconds above 0, at most 60, got ")


@pytest.mark.parametrize("version", ["0", "x", "-1", "1.5", "9" * 30, "٣"])
@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("GET", "/ready"), ("POST", "/infer")])
def test_a_bad_version_in_a_path(shared_http, method, rest, version):
    response = shared_http.open(f"/v2/models/toy/versions/{version}{rest}", method=method)
    assert response.status_code == 400
    assert response.get_json()["error"].startswith("version: expected a whole number from 1, got ")


def test_wrong_method_names_the_right_one(shared_http):
    response = shared_http.get("/predict/toy")
    assert response.status_code == 405
    assert response.headers["Allow"]
    problem = response.get_json()
    assert (problem["expected"], problem["got"]) == ("POST", "GET")


def test_unknown_path_lists_the_known_ones(http):
    response = http.get("/nowhere")
    assert response.status_code == 404
    assert "/predict/<model>" in response.get_json()["hint"]


def test_unknown_model_names_the_known_ones(http):
    response = post(http, "/predict/tou")
    assert response.status_code == 404
    problem = response.get_json()
    assert (problem["field"], problem["got"]) == ("model", "'tou'")
    assert "toy" in problem["expected"]


@pytest.mark.parametrize("path", ["/predict/toy", "/explain/toy"])
def test_unknown_version_names_the_available_ones(http, path):
    response = post(http, f"{path}?version=7")
    assert response.status_code == 404
    problem = response.get_json()
    assert (problem["field"], problem["got"]) == ("version", "7")
    assert "(1)" in problem["expected"]


def test_unknown_label_is_named(http, server):
    server.labels = {"stable": 1}
    response = post(http, "/predict/toy?label=stale")
    assert response.status_code == 404
    problem = response.get_json()
    assert (problem["field"], problem["got"]) == ("label", "'stale'")


def test_model_server_down_then_back(http, server):
    server.failure = call_error(Code.UNAVAILABLE, "secret address refused")
    response = post(http)
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) >= 1
    assert "secret" not in response.get_data(as_text=True)
    server.failure = None
    assert post(http).status_code == 200


def test_an_outage_does_not_fill_the_log(http, server, caplog):
    server.failure = call_error(Code.UNAVAILABLE, "refused")
    for _ in range(10):
        assert post(http).status_code == 503
    assert caplog.text.count("refused") == 1


def test_a_model_that_disappeared_is_not_available(http, server):
    server.failure = call_error(Code.NOT_FOUND, "Servable not found for request: Latest(toy)")
    response = post(http)
    assert response.status_code == 404
    assert response.get_json()["detail"] == "there is no model toy; available: none"


def test_a_model_server_with_too_much_to_do(http, server):
    server.failure = call_error(Code.RESOURCE_EXHAUSTED, "full")
    response = post(http)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")


def test_deadline_passed(http, server):
    server.failure = call_error(Code.DEADLINE_EXCEEDED, "late")
    response = post(http)
    assert response.status_code == 504
    assert "10 s" in response.get_json()["detail"]


@pytest.mark.parametrize(
    ("failure", "status"),
    [(RuntimeError("secret"), 500), (call_error(Code.INTERNAL, "secret"), 502)],
)
def test_failures_keep_their_text_in_the_log(http, server, caplog, failure, status):
    server.failure = failure
    response = post(http)
    assert response.status_code == status
    assert "secret" not in response.get_data(as_text=True)
    assert "secret" in caplog.text
    assert response.headers["X-Request-ID"] in caplog.text
