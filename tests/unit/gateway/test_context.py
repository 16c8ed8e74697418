"""Request ids, deadlines, and the error format of each API."""

import time

import msgspec
import pytest
from flask import Blueprint

from rockstar_client.errors import DeadlineExceededError, call_error
from rockstar_serving.gateway.api import Api
from rockstar_serving.gateway.app import APIS
from rockstar_serving.gateway.context import RequestContext
from rockstar_serving.gateway.errors import HttpResponse
from rockstar_serving.gateway.observers import Observer
from tests.unit.gateway.conftest import post
from tfs_api.status import Code


def test_the_remaining_time_goes_upstream(http, server):
    assert post(http, X_Request_Timeout="2.5").status_code == 200
    assert 0 < server.timeouts[-1] <= 2.5
    assert post(http).status_code == 200
    assert 2.5 < server.timeouts[-1] <= 10


def test_the_time_that_an_upload_took_does_not_count():
    arrived = time.monotonic() - 100
    current = RequestContext("one", "predict", 10, arrived, uploading=95)
    assert 4 < current.time_left() <= 5
    current.uploading = 89
    with pytest.raises(DeadlineExceededError):
        current.time_left()


def test_a_deadline_that_passes_before_the_model_is_called(http, server):
    response = post(http, X_Request_Timeout="1e-9")
    assert response.status_code == 504
    assert "1e-09 s" in response.get_json()["detail"]
    assert not server.batches


@pytest.mark.parametrize(
    "timeout", ["", "0", "-1", "x", "nan", "inf", "61", "1_0", "٣", "10s", "1e400"]
)
def test_a_timeout_that_is_no_time(http, timeout):
    response = post(http, X_Request_Timeout=timeout)
    assert response.status_code == 400
    problem = response.get_json()
    assert problem["field"] == "X-Request-Timeout"
    assert problem["expected"] == "seconds above 0, at most 60"
    assert problem["request_id"] == response.headers["X-Request-ID"]


def terse(problem) -> HttpResponse:
    document = {"error": problem.detail, "code": problem.code and problem.code.name}
    return HttpResponse(msgspec.json.encode(document))


class Echo:
    """An API that raises `failure`."""

    def __init__(self, **settings) -> None:
        blueprint = Blueprint("echo", __name__)
        blueprint.post("/echo/fail")(self.fail)
        self.api = Api("echo", blueprint, render=terse, prefix="/echo/", **settings)
        self.failure: Exception = RuntimeError("secret")

    def fail(self):
        raise self.failure


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "says"),
    [
        ("GET", "/echo/fail", {}, 405, "does not take GET"),
        ("GET", "/echo/nowhere", {}, 404, "nothing at /echo/nowhere"),
        ("POST", "/echo/fail", {"X-Request-Timeout": "x"}, 400, "X-Request-Timeout"),
        ("POST", "/echo/fail", {}, 500, "request id"),
    ],
)
def test_each_api_has_its_error_format(
    config, server, method, path, headers, status, says, create_gateway
):
    http = create_gateway(config, server, apis=(*APIS, Echo().api)).test_client()
    response = http.open(path, method=method, headers=headers)
    assert response.status_code == status
    assert set(response.get_json()) == {"error", "code"}
    assert says in response.get_json()["error"]
    assert response.headers["X-Request-ID"]
    assert "Allow" in response.headers or status != 405
    # The others keep theirs.
    assert http.get("/nowhere").mimetype == "application/problem+json"


@pytest.mark.parametrize(
    ("code", "relayed", "kept"),
    [(Code.INVALID_ARGUMENT, 400, 502), (Code.NOT_FOUND, 404, 502), (Code.INTERNAL, 500, 502)],
)
def test_errors_of_the_model_server_are_relayed_by_some_apis(
    config, server, code, relayed, kept, create_gateway
):
    for relays, status in ((True, relayed), (False, kept)):
        echo = Echo(relays=relays)
        echo.failure = call_error(code, "its words")
        http = create_gateway(config, server, apis=(*APIS, echo.api)).test_client()
        response = http.post("/echo/fail")
        assert response.status_code == status
        assert ("its words" in response.text) == (status < 500)


class Broken(Observer):
    def answered(self, context, status):
        raise RuntimeError("no room")


def test_observers_get_every_response_and_their_errors_are_logged(
    config, server, notes, caplog, create_gateway
):
    http = create_gateway(config, server, observers=[Broken(), notes]).test_client()
    assert post(http, X_Request_ID="a-1").status_code == 200
    assert http.get("/nowhere").status_code == 404
    (context, status), (lost, missing) = notes.answers
    assert (status, context.request_id, context.api, context.model, context.instances) == (
        200, "a-1", "predict", "toy", 1,
    )  # fmt: skip
    assert {phase.name for phase in context.phases} >= {"preprocess", "postprocess"}
    assert (missing, lost.model) == (404, "")
    assert "Broken could not take note of answered" in caplog.text


@pytest.mark.parametrize("name", ["req_1", "my-id.1", "0f8fad5b-d9cb-469f-a165-70867728950e"])
def test_a_callers_id_is_kept(http, name):
    assert post(http, X_Request_ID=name).headers["X-Request-ID"] == name


@pytest.mark.parametrize("name", ["", "a b", "a\u00e9", "-", "x" * 65, "<script>"])
def test_an_id_that_could_confuse_a_log_is_replaced(http, name):
    assert post(http, X_Request_ID=name).headers["X-Request-ID"] != name
