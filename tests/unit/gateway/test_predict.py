import base64
import dataclasses
import io
import tempfile

import numpy as np
import pytest

from rockstar_contract.contract import ImageInput
from rockstar_contract.preprocessing import preprocess
from tests.contracts import LABELS, STEPS, make_contract
from tests.images import png, stroke
from tests.unit.gateway.conftest import post


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_raw_image(http, server):
    response = post(http)
    assert response.status_code == 200
    answer = response.get_json()
    assert (answer["model"], answer["version"]) == ("toy", 1)
    (prediction,) = answer["predictions"]
    assert prediction["label"] == prediction["top"][0]["label"]
    assert prediction["score"] == prediction["top"][0]["score"]
    assert len(prediction["top"]) == 3
    expected = preprocess(stroke()[:, :, np.newaxis], STEPS)
    np.testing.assert_array_equal(server.batches[0], expected[np.newaxis])


def test_multipart_with_several_files_keeps_their_order(http, server):
    first, second = png(stroke(12)), png(np.full((9, 9), 200, np.uint8))
    files = {"image": [(io.BytesIO(first), "a.png"), (io.BytesIO(second), "b.png")]}
    response = http.post("/predict/toy", data=files)
    assert response.status_code == 200
    assert len(response.get_json()["predictions"]) == 2
    assert server.batches[0].shape == (2, 8, 8, 1)
    alone = post(http, data=second).get_json()
    assert response.get_json()["predictions"][1] == alone["predictions"][0]


def test_large_files_of_a_form_need_no_room_on_disk(
    config, server, monkeypatch, tmp_path, create_gateway
):
    """In a container that folder is small, and there may be many uploads at a time."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
    roomy = dataclasses.replace(config, max_body_bytes=2**20, max_pixels=2**20)
    http = create_gateway(roomy, server).test_client()
    large = png(np.zeros((900, 900), np.uint8), compress_level=0)
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    body, form = head + large + b"\r\n--b--\r\n", "multipart/form-data; boundary=b"
    response = http.post("/predict/toy", data=body, content_type=form)
    assert len(large) > 500 * 1024
    assert response.status_code == 200


@pytest.mark.parametrize(
    "wrap",
    [
        b64,
        lambda data: {"b64": b64(data)},
        lambda data: base64.urlsafe_b64encode(data).decode().rstrip("="),
        lambda data: base64.encodebytes(data).decode(),
    ],
    ids=["text", "object", "url-safe", "wrapped"],
)
def test_json_images(http, wrap):
    data = png(stroke())
    response = http.post("/predict/toy", json={"instances": [wrap(data)]})
    raw = post(http, data=data)
    assert response.get_json() == raw.get_json()


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1)])
def test_json_arrays_are_the_model_input(http, server, shape):
    values = np.linspace(0, 1, 64).reshape(shape)
    response = http.post("/predict/toy", json={"instances": [values.tolist()]})
    assert response.status_code == 200
    np.testing.assert_allclose(server.batches[0][0], values.reshape(8, 8, 1), rtol=1e-6)


def test_images_and_arrays_mix(http):
    instances = [b64(png(stroke())), np.zeros((8, 8)).tolist()]
    response = http.post("/predict/toy", json={"instances": instances})
    assert [len(p["top"]) for p in response.get_json()["predictions"]] == [3, 3]


def test_top_is_ordered_and_bounded_by_the_labels(http):
    url = "/predict/toy?top=100"
    response = post(http, url)
    top = response.get_json()["predictions"][0]["top"]
    assert sorted(score["label"] for score in top) == sorted(LABELS)
    scores = [score["score"] for score in top]
    assert scores == sorted(scores, reverse=True)


def test_a_version_can_be_picked(http, server):
    server.versions[2] = make_contract(version=2, labels=("a", "b", "c", "d"))
    for version, labels in ((1, set(LABELS)), (2, set("abcd"))):
        url = f"/predict/toy?version={version}&top=4"
        answer = post(http, url).get_json()
        assert answer["version"] == version
        assert {score["label"] for score in answer["predictions"][0]["top"]} == labels


def test_a_label_can_be_picked(http, server):
    server.versions[2] = make_contract(version=2, labels=("a", "b", "c", "d"))
    server.labels = {"stable": 1}
    url = "/predict/toy?label=stable"
    answer = post(http, url).get_json()
    assert (answer["version"], answer["predictions"][0]["label"] in LABELS) == (1, True)
    server.labels = {"stable": 2}
    answer = post(http, url).get_json()
    assert (answer["version"], answer["predictions"][0]["label"] in "abcd") == (2, True)


def test_a_new_version_is_labelled_by_its_own_contract(http, server):
    def ask():
        return post(http, "/predict/toy?top=4")

    assert ask().get_json()["version"] == 1
    server.versions = {2: make_contract(version=2, labels=("a", "b", "c", "d"))}
    answer = ask().get_json()
    assert answer["version"] == 2
    assert {score["label"] for score in answer["predictions"][0]["top"]} == set("abcd")


def test_a_new_version_with_another_input_is_prepared_anew(http, server):
    image = png(stroke())
    assert post(http, data=image).status_code == 200
    spec = ImageInput(
        name="picture",
        dtype="float32",
        shape=(10, 10, 1),
        range=(0.0, 1.0),
        preprocessing=(*STEPS[:-1], type(STEPS[-1])(height=10, width=10)),
    )
    server.versions = {2: make_contract(version=2, input=spec)}
    answer = post(http, data=image)
    assert (answer.status_code, answer.get_json()["version"]) == (200, 2)
    assert server.batches[-1].shape == (1, 10, 10, 1)


def test_contracts_are_read_once(http, server):
    for _ in range(3):
        post(http)
    assert server.contract_reads == 1
