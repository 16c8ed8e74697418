"""Models that take tensors: texts and ids."""

import json

import numpy as np
import pytest

from rockstar_client.backend import TensorResponse
from rockstar_client.errors import call_error
from rockstar_contract.contract import TensorInput, TensorSpec
from rockstar_serving.gateway.settings import GatewayConfig
from tests.contracts import make_contract
from tfs_api.status import Code


def takes(*specs: TensorSpec):
    return make_contract(input=TensorInput(tensors=specs), statistics=None, data_set=None)


TEXT = TensorSpec(name="text", dtype="string", shape=())
TEXTS = [b"good film", b"bad film"]
IDS = TensorSpec(name="ids", dtype="int32", shape=(None,))


@pytest.fixture
def sent(server, monkeypatch):
    """The inputs that reach the model, which takes a text."""
    server.versions = {1: takes(TEXT)}
    arrived = []

    def predict(query):
        arrived.append({name: array.tolist() for name, array in query.inputs.items()})
        count = len(next(iter(query.inputs.values())))
        return TensorResponse({"probabilities": np.full((count, 4), 0.25, np.float32)}, 1)

    monkeypatch.setattr(server, "predict", predict)
    return arrived


def ask(http, *instances, path="/predict/toy"):
    data = json.dumps({"instances": instances})
    return http.post(path, data=data, content_type="application/json")


@pytest.mark.parametrize(
    ("instance", "text"),
    [
        ("good film", b"good film"),  # would be base64
        ("film", b"film"),
        ("I loved it!", b"I loved it!"),
        ("grün", "grün".encode()),
        ("", b""),
        ("data:image/png;base64,AAAA", b"data:image/png;base64,AAAA"),
        ({"text": "good film"}, b"good film"),
        ({"b64": "Z29vZCBmaWxt"}, b"good film"),
        ({"b64": "/w=="}, b"\xff"),
    ],
)
def test_a_string_is_text_unless_it_is_marked_as_base64(http, sent, instance, text):
    response = ask(http, instance, "another one")
    assert response.status_code == 200, response.text
    assert sent == [{"text": [text, b"another one"]}]


@pytest.mark.parametrize(("shape", "rows"), [((), TEXTS), ((1,), [[text] for text in TEXTS])])
def test_columns_of_texts(http, server, sent, shape, rows):
    server.versions = {1: takes(TensorSpec(name="text", dtype="string", shape=shape))}
    data = json.dumps({"inputs": {"text": ["good film", "bad film"]}})
    assert http.post("/predict/toy", data=data, content_type="application/json").status_code == 200
    assert ask(http, "good film", {"text": "bad film"}).status_code == 200
    assert sent == [{"text": rows}] * 2


@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_number_needs_no_list(http, server, sent, shape):
    server.versions = {1: takes(TensorSpec(name="x", dtype="float32", shape=shape))}
    assert ask(http, 0.5, {"x": 2}).status_code == 200
    assert sent == [{"x": np.reshape([0.5, 2.0], (2, *shape)).tolist()}]


@pytest.mark.parametrize("instance", ["\ud800", {"text": "\ud800"}])
def test_half_a_surrogate_pair_is_replaced(http, sent, instance):
    assert ask(http, "fine", instance).status_code == 200
    assert sent == [{"text": [b"fine", "\ufffd".encode()]}]


@pytest.mark.parametrize(
    ("specs", "got"), [([IDS], "got text or another type"), ([IDS, TEXT], "got a text; send")]
)
def test_a_text_to_a_model_of_other_inputs_gets_an_error_with_the_fix(http, server, specs, got):
    server.versions = {1: takes(*specs)}
    for text in ("abcd", "I loved it!"):
        response = ask(http, text)
        assert response.status_code == 400
        assert got in response.get_json()["detail"]
        assert "ids" in response.get_json()["detail"]


def test_payloads_have_the_texts(server, sent, tmp_path, create_gateway):
    path = tmp_path / "payloads.jsonl"
    config = GatewayConfig(
        upstream="unused", models=("toy",), payload_log=str(path), payload_share=1.0
    )
    assert (
        ask(create_gateway(config, server).test_client(), "film", "I loved it!").status_code == 200
    )
    assert json.loads(path.read_text())["examples"] == ["film", "I loved it!"]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Code.INVALID_ARGUMENT, 400),
        (Code.OUT_OF_RANGE, 400),
        (Code.FAILED_PRECONDITION, 502),
        (Code.INTERNAL, 502),
    ],
)
def test_values_that_the_model_refuses_are_the_callers_error(http, server, code, status):
    server.versions = {1: takes(IDS)}
    server.failure = None

    def predict(query):
        raise call_error(code, "indices[0,4] = 99 is not in [0, 10)")

    server.predict = predict
    response = ask(http, [1, 2, 3, 4, 99])
    assert response.status_code == status
    assert ("indices[0,4] = 99 is not in [0, 10)" in response.get_json()["detail"]) == (
        status == 400
    )


def test_a_tensor_that_the_gateway_made_and_the_model_refuses_is_not(http, server):
    def predict(query):
        raise call_error(Code.INVALID_ARGUMENT, "input does not match signature")

    server.predict = predict
    response = ask(http, [[0.5] * 8] * 8)
    assert response.status_code == 502
    assert "signature" not in response.text
