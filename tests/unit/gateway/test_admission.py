"""Limits on memory, time and the cost of inputs, on each host."""

import copy
import dataclasses
import gc
import gzip
import io
import json
import struct
import time
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rockstar_client.errors import DeadlineExceededError
from rockstar_serving.gateway.admission import Limit
from rockstar_serving.gateway.bodies import NamedExample
from rockstar_serving.gateway.context import RequestContext
from rockstar_serving.gateway.predict import Batch
from tests.contracts import make_contract
from tests.images import encoded
from tests.unit.gateway.conftest import IMAGE, LIMITED, post
from tests.waiting import until

JSON = "application/json"
# It is decoded only while there is memory for a large image.
LARGE = encoded(np.zeros((900, 900), np.uint8), "PNG")


@pytest.fixture
def config():
    return dataclasses.replace(LIMITED, models=("toy",), max_body_bytes=4_000_000, threads=1)


@pytest.fixture
def app(server, config, create_gateway):
    return create_gateway(config, server)


@pytest.fixture
def http(app):
    return app.test_client()


@pytest.fixture
def memory(app):
    return app.extensions["gateway"].memory


def test_a_limit_admits_what_fits_and_rejects_more_than_may_wait():
    limit = Limit(10, waiting=1)
    assert limit.enter(0, 6) == limit.enter(0, 3) == "admitted"
    assert limit.enter(0, 2) == "late"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(limit.enter, 30, 5)
        until(lambda: limit.enter(0, 2) == "full", what="one that waits")
        assert limit.enter(0, 1) == "full", "it came later"
        limit.leave(6)
        assert waiting.result() == "admitted"
    assert limit.enter(0, 2) == "admitted"
    assert limit.enter(0, 1) == "late"


def test_large_images_wait_for_memory_and_small_ones_are_answered_meanwhile(http, app, memory):
    large = memory.decoding(2**30)
    assert large.enter(0, large.most) == "admitted"
    assert post(http, data=LARGE, X_Request_Timeout="0.1").status_code == 504
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(post, app.test_client(), data=LARGE, X_Request_Timeout="30")
        # It occupies none of the places of requests that run.
        for _ in range(3):
            assert post(http).status_code == 200
            assert post(http, data=IMAGE + bytes(20_000)).status_code == 200
        large.leave(large.most)
        assert waiting.result().status_code == 200
    assert large.enter(0, large.most) == "admitted"


def test_images_and_decompression_take_turns_and_small_inputs_do_not(http, memory):
    medium = {"data": encoded(np.zeros((100, 100), np.uint8), "PNG")}
    packed = {"data": gzip.compress(IMAGE + bytes(1_000_000)), "Content_Encoding": "gzip"}
    for limit, sent in ((memory.preparing(0), medium), (memory.inflating, packed)):
        assert limit.enter(0, limit.most) == "admitted"
        assert post(http, **sent, X_Request_Timeout="0.1").status_code == 504
        assert post(http).status_code == 200
        limit.leave(limit.most)
        assert post(http, **sent).status_code == 200
        assert limit.enter(0, limit.most) == "admitted"


def test_bodies_beyond_the_memory_for_all_are_rejected(http, memory, notes):
    memory.bodies.enter(0, memory.bodies.most - 300_000)
    assert post(http, data=IMAGE + bytes(1_000)).status_code == 200
    rejected = post(http, data=IMAGE + bytes(1_000_000))
    assert rejected.status_code == 429
    assert rejected.headers["Retry-After"] == "1"
    packed = gzip.compress(IMAGE + bytes(1_000_000))
    assert post(http, data=packed, Content_Encoding="gzip").status_code == 429
    memory.bodies.leave(memory.bodies.most - 300_000)
    assert post(http, data=IMAGE + bytes(1_000_000)).status_code == 200
    assert memory.bodies.enter(0, memory.bodies.most) == "admitted"


def filled(beginning: str, unit: str, end: str, size: int) -> bytes:
    return (beginning + unit * (size // len(unit)) + end).encode()


TENSOR = '{"inputs": [{"name": "image", "shape": [1], "datatype": "FP32", "data": [0'


@pytest.mark.parametrize(
    ("path", "beginning", "end"),
    [
        ("/predict/toy", '{"instances": [[0', "]]}"),
        ("/explain/toy", '{"instances": [[0', "]]}"),
        ("/v1/models/toy:predict", '{"instances": [[0', "]]}"),
        ("/v1/models/toy:classify", '{"examples": [{"x": [0', "]}]}"),
        ("/v2/models/toy/infer", TENSOR, "]}]}"),
    ],
)
def test_json_of_too_many_values_is_not_parsed(http, memory, path, beginning, end):
    for unit in (",0", ",[]"):
        body = gzip.compress(filled(beginning, unit, end, 3_900_000))
        http.get("/livez")
        tracemalloc.start()
        response = http.post(
            path, data=body, content_type=JSON, headers={"Content-Encoding": "gzip"}
        )
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert response.status_code == 413
        assert "1,500,000 values" in response.text
        assert peak < 20_000_000
    many_names = filled('{"instances": [{"": 0', ',"1" : 0', "}]}", 3_000_000)
    assert http.post(path, data=many_names, content_type=JSON).status_code == 413
    body = filled(beginning, ",0", end, 1_000_000)
    assert http.post(path, data=body, content_type=JSON).status_code == 400
    for limit in (memory.bodies, memory.decoding(0), memory.decoding(2**30)):
        assert limit.enter(0, limit.most) == "admitted"


def test_v1_and_v2_limit_rows(http):
    row = np.zeros((8, 8, 1)).tolist()
    for rows, status in ((8, 200), (9, 413)):
        tensor = {
            "name": "image",
            "shape": [rows, 8, 8, 1],
            "datatype": "FP32",
            "data": [row] * rows,
        }
        for path, document in (
            ("/v1/models/toy:predict", {"instances": [row] * rows}),
            ("/v1/models/toy:predict", {"inputs": [row] * rows}),
            ("/v1/models/toy:classify", {"examples": [{"x": 1.0}] * rows}),
            ("/v1/models/toy:regress", {"examples": [{"x": 1.0}] * rows}),
            ("/v2/models/toy/infer", {"inputs": [tensor]}),
        ):
            response = http.post(path, json=document)
            assert response.status_code == status, (path, response.text)
            assert status == 200 or "at most 8 examples" in response.text


def test_an_npz_file_that_declares_less_than_it_holds(http):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(50_000_000))
    data = bytearray(file.getvalue())
    struct.pack_into("<I", data, data.rindex(b"PK\1\2") + 24, 1_000)
    tracemalloc.start()
    response = http.post("/predict/toy", data=bytes(data), content_type="application/x-npz")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert response.status_code == 400
    assert "a damaged ZIP archive" in response.text
    assert peak < 5_000_000


def test_gzip_of_very_many_empty_members_is_rejected(http):
    data = gzip.compress(b"") * 2_000
    for path, headers in (
        ("/predict/toy", {"Content-Type": "image/png", "Content-Encoding": "gzip"}),
        ("/predict/toy", {"Content-Type": "text/csv"}),
    ):
        response = http.post(path, data=data, headers=headers)
        assert response.status_code == 400
        assert "1,000 members" in response.text
    assert post(http, data=gzip.compress(IMAGE), Content_Encoding="gzip").status_code == 200


def test_failed_uploads_are_freed_with_their_responses(http):
    text = "?" * 1_000_000
    # One of them is valid JSON but no image; partial=true keeps the errors of examples.
    documents = [{"instances": [{"b64": text}, {"b64": "aGVsbG8="}]}, {"instances": [text]}]
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for path in ("/predict/toy", "/predict/toy?partial=true"):
            for document in documents:
                assert http.post(path, json=document).status_code == 400
        gc.collect()
        kept = {each.f_code.co_name for each in gc.garbage if type(each).__name__ == "frame"}
    finally:
        gc.set_debug(0)
        gc.enable()
        gc.garbage.clear()
    assert not kept & {"read_examples", "prepare", "predict"}


def test_an_image_that_is_too_large_for_the_event_loop_may_be_partial(http):
    data = {"a": (io.BytesIO(encoded(np.zeros((300, 300), np.uint8), "PNG")), "a.png")}
    response = http.post("/predict/toy?partial=true", data=data)
    assert response.status_code == 200
    assert "error" not in json.loads(response.text)["predictions"][0]


def test_preprocessing_stops_at_the_deadline(app):
    here = app.extensions["gateway"]
    current = RequestContext("one", "predict", 10, time.monotonic() - 100)
    examples = [NamedExample("a", IMAGE), NamedExample("b", IMAGE)]
    spec = make_contract().input
    batch = Batch(examples[:1], here, current, partial=False)
    assert isinstance(batch.prepare(spec), np.ndarray)
    with pytest.raises(DeadlineExceededError):
        Batch(copy.copy(examples), here, current, partial=True).prepare(spec)
