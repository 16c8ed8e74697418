"""Input and output formats of /predict."""

import csv
import io

import numpy as np
import pytest

from tests.contracts import LABELS, make_contract

ARRAY = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8, 1)


def npy(array, **kwargs):
    stream = io.BytesIO()
    np.save(stream, array, **kwargs)
    return stream.getvalue()


def npz(**arrays):
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def ask(http, body, content_type, query="", **headers):
    return http.post(f"/predict/toy{query}", data=body, content_type=content_type, headers=headers)


def instances(http, values, query="", **headers):
    return http.post(f"/predict/toy{query}", json={"instances": values}, headers=headers)


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        (npy(ARRAY), (1, 8, 8, 1)),
        (npy(ARRAY[..., 0]), (1, 8, 8, 1)),
        (npy(np.stack([ARRAY] * 3)), (3, 8, 8, 1)),
        (npy(np.stack([ARRAY[..., 0]] * 3)), (3, 8, 8, 1)),
        (npy(np.asfortranarray(ARRAY.astype(np.float64))), (1, 8, 8, 1)),
        (npy(ARRAY.astype(">f4")), (1, 8, 8, 1)),
        (npz(a=ARRAY, b=np.stack([ARRAY] * 2)), (3, 8, 8, 1)),
    ],
)
def test_arrays_from_files(http, server, body, shape):
    response = ask(http, body, "application/x-npy")
    assert response.status_code == 200, response.text
    assert len(response.get_json()["predictions"]) == shape[0]
    assert server.batches[0].shape == shape
    np.testing.assert_array_equal(server.batches[0][0], ARRAY)


def test_an_array_in_a_form(http, server):
    files = {"image": (io.BytesIO(npy(ARRAY)), "seven.npy")}
    assert http.post("/predict/toy", data=files).status_code == 200
    np.testing.assert_array_equal(server.batches[0][0], ARRAY)


def test_more_examples_in_an_array_than_a_request_may_hold(http, config):
    many = np.zeros((config.max_instances + 1, 8, 8, 1), np.float32)
    assert ask(http, npy(many), "application/x-npy").status_code == 413


def test_below_the_threshold_there_is_no_label(http):
    grey = np.full((8, 8, 1), 0.4).tolist()
    light = np.full((8, 8, 1), 0.9).tolist()
    unsure, sure = instances(http, [grey, light], "?threshold=0.5").get_json()["predictions"]
    assert unsure["label"] is None
    assert "threshold is 0.5" in unsure["reason"]
    assert unsure["top"][0]["label"] == LABELS[0]
    assert sure["label"] == LABELS[0]
    assert "reason" not in sure


def test_a_model_has_its_own_threshold(http, server):
    server.versions[1] = make_contract(threshold=0.5)
    grey, dark = np.full((8, 8, 1), 0.4).tolist(), np.zeros((8, 8, 1)).tolist()
    unsure, blank = instances(http, [grey, dark]).get_json()["predictions"]
    assert (unsure["label"], unsure["top"][0]["label"]) == (None, LABELS[0])
    assert "threshold is 0.5" in unsure["reason"]
    assert (blank["label"], blank["reason"]) == (None, "not sure: nothing is drawn on the image")
    (row, _) = rows(instances(http, [grey, dark], Accept="text/csv"))
    assert (row["label"], "threshold is 0.5" in row["error"]) == ("", True)
    for query in ("?threshold=0", "?threshold=0.1"):
        sure = instances(http, [grey, dark], query).get_json()["predictions"]
        assert all(each["label"] in LABELS for each in sure)


def test_bad_examples_beside_good_ones(http, server):
    values = [ARRAY.tolist(), "not base64!", [[1]], ARRAY.tolist(), 5]
    predictions = instances(http, values, "?partial=true").get_json()["predictions"]
    assert ["error" in each for each in predictions] == [False, True, True, False, True]
    assert predictions[1]["error"]["field"] == "instances[1]"
    assert predictions[2]["error"]["got"] == "shape [1, 1]"
    assert len(server.batches[0]) == 2


def rows(response):
    return list(csv.DictReader(io.StringIO(response.text)))


@pytest.mark.parametrize("accept", ["text/csv", "text/csv; charset=utf-8;q=0.9, image/png"])
def test_csv(http, accept):
    response = instances(http, [ARRAY.tolist(), 5], "?partial=true", Accept=accept)
    assert response.mimetype == "text/csv"
    assert response.headers["X-Model-Version"] == "1"
    good, bad = rows(response)
    assert good["example"] == "1"
    assert good["label"] in LABELS
    assert float(good["score"]) == pytest.approx(0.5, abs=0.1)
    assert good["error"] == ""
    assert (bad["label"], bad["score"]) == ("", "")
    assert bad["error"].startswith("instances[1]")


def test_csv_with_more_labels(http):
    (row,) = rows(instances(http, [ARRAY.tolist()], "?top=9&threshold=1", Accept="text/csv"))
    assert list(row)[:5] == ["example", "label", "score", "label_2", "score_2"]
    assert {row[f"label_{k}"] for k in range(2, 5)} < set(LABELS)
    assert row["label"] == ""
    assert "threshold" in row["error"]


def test_npy(http):
    response = instances(
        http, [ARRAY.tolist(), 5, ARRAY.tolist()], "?partial=true", Accept="application/x-npy"
    )
    array = np.load(io.BytesIO(response.data), allow_pickle=False)
    assert array.shape == (3, len(LABELS))
    assert np.isnan(array[1]).all()
    np.testing.assert_allclose(array[0].sum(), 1, rtol=1e-5)


def test_full_json_has_every_probability_in_the_models_order(http):
    document = instances(
        http, [ARRAY.tolist(), 5, ARRAY.tolist()], "?partial=true&full=true&top=1"
    ).get_json()
    assert document["task"] == "classification"
    assert document["labels"] == list(LABELS)
    first, bad, _ = document["predictions"]
    assert list(bad) == ["error"]
    assert len(first["top"]) == 1
    assert first["probabilities"][LABELS.index(first["label"])] == first["score"]
    np.testing.assert_allclose(sum(first["probabilities"]), 1, rtol=1e-5)


@pytest.mark.parametrize(
    "accept", ["*/*", "", "image/png", "application/json;q=0.9,text/csv;q=0.5"]
)
def test_else_json(http, accept):
    assert instances(http, [ARRAY.tolist()], Accept=accept).is_json
