"""Bad input gets a problem that says what is wrong, and the next request is answered."""

import base64
import io
import json

import numpy as np
import pytest

from clients.errors import call_error
from serving.api.status import Code
from tests.images import bomb, png, stroke

OK_ARRAY = np.zeros((8, 8)).tolist()


def array(**changes):
    rows = [list(row) for row in OK_ARRAY]
    for place, value in changes.items():
        rows[int(place[1:])] = value
    return rows


def instances(*values) -> dict:
    # Not Flask's own encoder, which refuses NaN.
    return {"data": json.dumps({"instances": values}), "content_type": "application/json"}


def image(data: bytes) -> dict:
    return {"data": data, "content_type": "image/png"}


JSON = "application/json"
BAD = {
    "not an image": (image(b"this is no image"), 400, "body", "PNG"),
    "empty image": (image(b""), 400, "body", "0 bytes"),
    "truncated image": (image(png(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))[:-900]), 400, "body", "cut off"),
    "bomb": (image(bomb()), 413, "body", "pixels"),
    "bomb below Pillow's own limit": (image(bomb(1100, 1000)), 413, "body", "1100 x 1000"),
    "multipart without a file": ({"data": {"note": "hello"}, "content_type": "multipart/form-data"}, 400, "body", "note"),
    "multipart, second file bad": ({"data": {"image": [(io.BytesIO(png(stroke())), "ok.png"), (io.BytesIO(b"x"), "bad.png")]}}, 400, "image (bad.png)", "PNG"),
    "empty JSON body": ({"data": b"", "content_type": JSON}, 400, "body", "0 bytes"),
    "malformed JSON": ({"data": b"{", "content_type": JSON}, 400, "body", "JSON"),
    "JSON in no known encoding": ({"data": b"\xff\xfe\xfa", "content_type": JSON}, 400, "body", "JSON"),
    "JSON too deep": ({"data": b"[" * 100_000, "content_type": JSON}, 400, "body", "nested"),
    "JSON with a number of 5,000 digits": ({"data": b'{"instances": [[' + b"1" * 5000 + b"]]}", "content_type": JSON}, 400, "body", "JSON"),
    "JSON list": ({"json": [1]}, 400, "body", "instances"),
    "JSON without instances": ({"json": {"inputs": [1]}}, 400, "body", "instances"),
    "JSON with a stray key": ({"json": {"instances": [OK_ARRAY], "modle": 1}}, 400, "body", "modle"),
    "instances not a list": ({"json": {"instances": "x"}}, 400, "instances", "list"),
    "no instances": ({"json": {"instances": []}}, 400, "instances", "empty"),
    "too many instances": (instances(*[OK_ARRAY] * 9), 413, "body", "at most 8"),
    "not base64": (instances("§§§"), 400, "instances[0]", "base64"),
    "base64 of no image": (instances(base64.b64encode(b"hello").decode()), 400, "instances[0]", "PNG"),
    "b64 of the wrong type": (instances({"b64": 5}), 400, "instances[0].b64", "number 5"),
    "an instance of the wrong type": (instances(OK_ARRAY, 5), 400, "instances[1]", "number 5"),
    "a null instance": (instances(None), 400, "instances[0]", "null"),
    "wrong shape": (instances([[0.5] * 8] * 7), 400, "instances[0]", "[7, 8]"),
    "wrong rank": (instances([0.5] * 64), 400, "instances[0]", "[64]"),
    "empty array": (instances([]), 400, "instances[0]", "[0]"),
    "ragged array": (instances(array(_3=[0.5] * 7)), 400, "instances[0]", "ragged"),
    "text in an array": (instances(array(_3=["x"] * 8)), 400, "instances[0]", "text"),
    "null in an array": (instances(array(_3=[None] * 8)), 400, "instances[0]", "object"),
    "booleans": (instances([[True] * 8] * 8), 400, "instances[0]", "boolean"),
    "objects in an array": (instances(array(_3=[{}] * 8)), 400, "instances[0]", "object"),
    "NaN": (instances(array(_3=[float("nan")] * 8)), 400, "instances[0]", "NaN"),
    "infinity": (instances(array(_3=[float("inf")] * 8)), 400, "instances[0]", "infinity"),
    "8-bit pixels": (instances(array(_3=[255] * 8)), 400, "instances[0]", "divide"),
    "an integer beyond 64 bits": (instances(array(_3=[10**30] * 8)), 400, "instances[0]", "object"),
    "the second one bad": (instances(OK_ARRAY, [[2.0] * 8] * 8), 400, "instances[1]", "0 to 1"),
    "body over the limit": (image(b"x" * 200_001), 413, "body", "200,000"),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "status", "field", "mentions"), BAD.values(), ids=BAD.keys())
def test_bad_body(http, request_, status, field, mentions):
    response = http.post("/predict/toy", **request_)
    assert response.status_code == status
    assert response.mimetype == "application/problem+json"
    problem = response.get_json()
    assert problem["status"] == status
    assert problem["field"] == field
    assert problem["expected"]
    assert problem["got"]
    assert mentions in json.dumps(problem, ensure_ascii=False)
    assert problem["request_id"] == response.headers["X-Request-ID"]
    assert http.post("/predict/toy", **image(png(stroke()))).status_code == 200


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("version=0", "version"),
        ("version=x", "version"),
        ("version=-1", "version"),
        ("version=٣", "version"),
        ("version=99999999999999999999", "version"),
        ("version=9999999999999999999", "version"),
        ("top=0", "top"),
        ("top=1.5", "top"),
        ("top=" + "9" * 5000, "top"),
        ("verson=1", "verson"),
        ("label=", "label"),
        ("label=stable&version=1", "label"),
    ],
)
def test_bad_query(http, query, field):
    response = http.post(f"/predict/toy?{query}", **image(png(stroke())))
    assert response.status_code == 400
    assert response.get_json()["field"] == field


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_wrong_content_type_says_how_to_send(http, content_type):
    response = http.post("/predict/toy", data=b"x", content_type=content_type)
    assert response.status_code == 415
    problem = response.get_json()
    assert problem["field"] == "Content-Type"
    assert "curl" in problem["hint"]


def test_wrong_method_names_the_right_one(http):
    response = http.get("/predict/toy")
    assert response.status_code == 405
    assert response.headers["Allow"]
    problem = response.get_json()
    assert (problem["expected"], problem["got"]) == ("POST", "GET")


def test_unknown_path_says_what_there_is(http):
    response = http.get("/nowhere")
    assert response.status_code == 404
    assert "/predict/<model>" in response.get_json()["hint"]


def test_unknown_model_names_the_known_ones(http):
    response = http.post("/predict/tou", **image(png(stroke())))
    assert response.status_code == 404
    problem = response.get_json()
    assert (problem["field"], problem["got"]) == ("model", "'tou'")
    assert "toy" in problem["expected"]


def test_unknown_version_names_the_available_ones(http):
    response = http.post("/predict/toy?version=7", **image(png(stroke())))
    assert response.status_code == 404
    problem = response.get_json()
    assert (problem["field"], problem["got"]) == ("version", "7")
    assert "(1)" in problem["expected"]


def test_unknown_label_is_named(http, server):
    server.labels = {"stable": 1}
    response = http.post("/predict/toy?label=stale", **image(png(stroke())))
    assert response.status_code == 404
    problem = response.get_json()
    assert (problem["field"], problem["got"]) == ("label", "'stale'")


def test_model_server_down_then_back(http, server):
    server.failure = call_error(Code.UNAVAILABLE, "secret address refused")
    response = http.post("/predict/toy", **image(png(stroke())))
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) >= 1
    assert "secret" not in response.get_data(as_text=True)
    server.failure = None
    assert http.post("/predict/toy", **image(png(stroke()))).status_code == 200


def test_an_outage_does_not_fill_the_log(http, server, caplog):
    server.failure = call_error(Code.UNAVAILABLE, "refused")
    for _ in range(10):
        assert http.post("/predict/toy", **image(png(stroke()))).status_code == 503
    assert caplog.text.count("refused") == 1


def test_a_model_server_with_too_much_to_do(http, server):
    server.failure = call_error(Code.RESOURCE_EXHAUSTED, "full")
    response = http.post("/predict/toy", **image(png(stroke())))
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")


def test_deadline_passed(http, server):
    server.failure = call_error(Code.DEADLINE_EXCEEDED, "late")
    response = http.post("/predict/toy", **image(png(stroke())))
    assert response.status_code == 504
    assert "10 s" in response.get_json()["detail"]


@pytest.mark.parametrize(
    ("failure", "status"),
    [(RuntimeError("secret"), 500), (call_error(Code.INTERNAL, "secret"), 502)],
)
def test_failures_keep_their_text_in_the_log(http, server, caplog, failure, status):
    server.failure = failure
    response = http.post("/predict/toy", **image(png(stroke())))
    assert response.status_code == status
    assert "secret" not in response.get_data(as_text=True)
    assert "secret" in caplog.text
    assert response.headers["X-Request-ID"] in caplog.text
