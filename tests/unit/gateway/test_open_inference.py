"""The Open Inference Protocol over a fake model server."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rockstar_contract.errors import InvalidInputError
from rockstar_serving.gateway.open_inference import HEADER_LENGTH, from_json, to_json
from tfs_api import open_inference

IMAGE = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 8, 8, 1)
INPUT = {"name": "image", "shape": [1, 8, 8, 1], "datatype": "FP32"}


def infer(http, document, binary=b"", path="/v2/models/toy/infer"):
    body = json.dumps(document).encode()
    headers = {HEADER_LENGTH: str(len(body))} if binary else {}
    return http.post(path, data=body + binary, headers=headers)


@pytest.mark.parametrize("nested", [False, True])
def test_json_in_and_out(http, server, nested):
    data = (IMAGE if nested else IMAGE.ravel()).tolist()
    answer = infer(http, {"id": "7", "inputs": [{**INPUT, "data": data}]}).get_json()
    np.testing.assert_array_equal(server.batches[0], IMAGE)
    (output,) = answer.pop("outputs")
    assert answer == {"model_name": "toy", "model_version": "1", "id": "7"}
    assert (output["name"], output["datatype"], output["shape"]) == (
        "probabilities",
        "FP32",
        [1, 4],
    )
    assert sum(output["data"]) == pytest.approx(1)


@pytest.mark.parametrize(
    "wish",
    [
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}]},
    ],
)
def test_bytes_in_and_out(http, server, wish):
    tensor = {**INPUT, "parameters": {"binary_data_size": IMAGE.nbytes}}
    response = infer(http, {"inputs": [tensor], **wish}, IMAGE.tobytes())
    np.testing.assert_array_equal(server.batches[0], IMAGE)
    length = int(response.headers[HEADER_LENGTH])
    (output,) = json.loads(response.data[:length])["outputs"]
    assert output["parameters"] == {"binary_data_size": 16}
    assert "data" not in output
    assert np.frombuffer(response.data[length:], "<f4").sum() == pytest.approx(1)


def test_a_version(http):
    answer = infer(
        http,
        {"inputs": [{**INPUT, "data": IMAGE.ravel().tolist()}]},
        path="/v2/models/toy/versions/1/infer",
    )
    assert answer.get_json()["model_version"] == "1"


# Like dumped pydantic models of MLServer and KServe, with all unset fields.
MLSERVER: dict[str, Any] = {
    "id": None,
    "parameters": None,
    "inputs": [
        {
            "name": "image",
            "shape": [1, 8, 8, 1],
            "datatype": "FP32",
            "parameters": {"content_type": "np", "headers": None, "binary_data_size": None},
            "data": IMAGE.ravel().tolist(),
        }
    ],
    "outputs": [{"name": "probabilities", "parameters": None}],
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"outputs": None, "id": "seven"},
        {"parameters": {"signature_name": None, "binary_data_output": None}},
        {"outputs": [{"name": "probabilities", "parameters": {"binary_data": None}}]},
        {"inputs": [MLSERVER["inputs"][0] | {"parameters": None}], "model_name": "toy"},
    ],
)
def test_optional_members_may_be_null(http, changes):
    plain = infer(http, {"inputs": [{**INPUT, "data": IMAGE.ravel().tolist()}]}).get_json()
    response = infer(http, MLSERVER | changes)
    assert response.status_code == 200, response.text
    assert response.get_json() == plain | ({"id": "seven"} if changes.get("id") else {})
    marked = http.post("/v2/models/toy/infer", data="\ufeff" + json.dumps(MLSERVER | changes))
    assert marked.status_code == 200


def test_bytes_with_data_that_is_null(http):
    tensor = {**INPUT, "data": None, "parameters": {"binary_data_size": IMAGE.nbytes}}
    document = json.dumps({"inputs": [tensor]}).encode()
    headers = {HEADER_LENGTH: str(len(document))}
    response = http.post("/v2/models/toy/infer", data=document + IMAGE.tobytes(), headers=headers)
    assert response.status_code == 200, response.text


def test_errors_of_the_model_server_about_inputs_are_relayed(http):
    response = infer(http, {"inputs": [{**INPUT, "name": "picture", "data": IMAGE.tolist()}]})
    assert response.status_code == 400
    assert response.get_json() == {"error": "input does not match signature"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"outputs": [{"name": "probabilities", "parameters": {"classification": 2}}]},
            "outputs[0]",
        ),
        (
            {"inputs": [{**INPUT, "parameters": {"shared_memory_region": "r"}}]},
            "inputs[0]",
        ),
    ],
)
def test_extensions_that_would_change_values_are_rejected(http, changes, says):
    response = infer(http, {"inputs": [{**INPUT, "data": IMAGE.ravel().tolist()}]} | changes)
    assert response.status_code == 400
    assert response.get_json()["error"].startswith(f"{says}.parameters: ")


@pytest.mark.parametrize(
    "path", ["/v2/models/nobody", "/v2/models/nobody/infer", "/v2/models/toy/versions/9", "/v2/x"]
)
def test_unknown_names(http, path):
    document = json.dumps({"inputs": [{**INPUT, "data": IMAGE.tolist()}]})
    response = http.post(path, data=document) if path.endswith("infer") else http.get(path)
    assert response.status_code == 404
    assert response.get_json().keys() == {"error"}


def test_metadata(http):
    assert "binary_tensor_data" in http.get("/v2").get_json()["extensions"]
    assert http.get("/v2/models/toy").get_json() == {
        "name": "toy",
        "versions": ["1"],
        "platform": "tensorflow_savedmodel",
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 8, 8, 1]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 4]}],
    }


def test_health(http, server):
    for path in ("health/live", "health/ready", "models/toy/ready", "models/toy/versions/1/ready"):
        assert http.get(f"/v2/{path}").status_code == 200, path
    assert http.get("/v2/models/nobody/ready").status_code == 503
    server.failure = ConnectionError
    assert http.get("/v2/health/live").status_code == 200


DTYPES = ["bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"]


@given(
    st.sampled_from([*DTYPES, "float16", "float32", "float64"]).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0))
    )
)
def test_bytes_round_trip(array):
    name = open_inference.datatype(array.dtype)
    again = open_inference.from_bytes(
        open_inference.to_bytes(array), name, list(array.shape), "x", "x"
    )
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)


@given(
    st.sampled_from([*DTYPES, "float32", "float64"]).flatmap(
        lambda dtype: hnp.arrays(
            dtype,
            hnp.array_shapes(min_dims=0, min_side=0),
            elements={"allow_nan": False, "allow_infinity": False} if "f" in dtype else None,
        )
    )
)
def test_json_round_trip(array):
    values = json.loads(json.dumps(to_json(array, "x")))
    again = from_json(values, open_inference.datatype(array.dtype), list(array.shape), "x")
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_texts_of_bytes_round_trip(values):
    array = np.empty(len(values), object)
    array[:] = values
    again = open_inference.from_bytes(
        open_inference.to_bytes(array), "BYTES", [len(values)], "x", "x"
    )
    assert again.tolist() == values


@given(st.binary(max_size=40), st.integers(0, 4))
def test_damaged_texts_are_refused_or_read(data, count):
    try:
        array = open_inference.from_bytes(data, "BYTES", [count], "x", "x")
    except InvalidInputError:
        return
    assert open_inference.to_bytes(array) == data
