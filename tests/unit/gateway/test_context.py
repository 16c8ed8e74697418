"""Request ids, deadlines, and the error format of each API."""

import time

import pytest

from rockstar_client.errors import DeadlineExceededError
from rockstar_serving.gateway.context import RequestContext
from rockstar_serving.gateway.observers import Observer
from tests.unit.gateway.conftest import post


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
