from contextvars import copy_context

from rockstar_client.errors import NoContractError, call_error
from rockstar_serving.gateway.server import report_upstream
from tests.contracts import LABELS, make_contract
from tfs_api.status import Code


def test_models_are_listed_with_versions_labels_and_input(http, server):
    server.versions[2] = make_contract(version=2)
    (model,) = http.get("/v1/models").get_json()["models"]
    assert model["model"] == "toy"
    assert model["versions"] == [
        {"version": 2, "state": "AVAILABLE"},
        {"version": 1, "state": "AVAILABLE"},
    ]
    assert model["labels"] == list(LABELS)
    assert model["input"]["shape"] == [8, 8, 1]


def test_models_while_the_server_is_down(http, server):
    server.failure = call_error(Code.UNAVAILABLE, "down")
    assert http.get("/v1/models").status_code == 503


def test_ready_when_every_model_responds(http, server):
    response = http.get("/readyz")
    assert response.status_code == 200
    assert response.get_json()["models"]["toy"] == {"ready": True, "version": 1}
    server.failure = call_error(Code.UNAVAILABLE, "down")
    response = http.get("/readyz")
    assert response.status_code == 503
    assert response.get_json()["models"]["toy"] == {"ready": False, "reason": "UNAVAILABLE"}
    assert http.get("/livez").status_code == 200


def test_a_model_without_a_contract_is_ready_and_reported(http, server, caplog):
    server.failure = NoContractError(Code.INTERNAL, "it has none")
    assert http.get("/readyz").get_json()["models"]["toy"] == {"ready": True, "contract": False}
    with caplog.at_level("INFO"):
        copy_context().run(report_upstream, http.application, "server:8500")
    assert "server:8500 serves toy, without a contract" in caplog.messages
