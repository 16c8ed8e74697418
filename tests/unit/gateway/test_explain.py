import io

import numpy as np
import pytest
from PIL import Image

from tests.contracts import LABELS
from tests.images import png


@pytest.fixture
def image() -> bytes:
    pixels = np.zeros((40, 40), np.uint8)
    pixels[10:30, 10:30] = 255
    return png(pixels)


def explain(http, image, query="", **headers):
    return http.post(f"/explain/toy{query}", data=image, content_type="image/png", headers=headers)


def test_json_holds_a_value_for_each_pixel_of_the_input(http, server, image):
    answer = explain(http, image).get_json()
    heatmap = np.array(answer.pop("heatmap"))
    score = answer.pop("score")
    assert answer == {
        "model": "toy",
        "version": 1,
        "label": LABELS[0],
        "method": "occlusion",
        "window": 2,
        "stride": 1,
    }
    assert heatmap.shape == (8, 8)
    # The toy's score is the mean of the image: covering ink lowers it, covering paper does not.
    assert score == pytest.approx(server.batches[0][0].mean())
    assert heatmap.max() > 0
    assert len(server.batches) == 1


def test_another_label_may_be_asked_for(http, image):
    answer = explain(http, image, f"?of={LABELS[2]}").get_json()
    assert answer["label"] == LABELS[2]
    assert np.array(answer["heatmap"]).min() < 0


def test_a_picture_where_it_is_preferred(http, image):
    response = explain(http, image, Accept="image/png")
    assert response.mimetype == "image/png"
    assert Image.open(io.BytesIO(response.data)).size == (336, 336)


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ("?of=horse", 400, "of"),
        ("?top=3", 400, "top"),
        ("?version=9", 404, "version"),
        ("?version=1&label=stable", 400, "label"),
    ],
)
def test_wrong_arguments_are_named(http, image, query, status, field):
    response = explain(http, image, query)
    assert (response.status_code, response.get_json()["field"]) == (status, field)


def test_one_image_at_a_time(http, image):
    files = {"image": [(io.BytesIO(image), "a.png"), (io.BytesIO(image), "b.png")]}
    response = http.post("/explain/toy", data=files)
    assert (response.status_code, response.get_json()["got"]) == (400, "2 examples")


def test_what_is_no_image_is_refused(http):
    response = explain(http, b"nothing")
    assert (response.status_code, response.get_json()["field"]) == (400, "body")
