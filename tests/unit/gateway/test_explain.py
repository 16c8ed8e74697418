import asyncio
import io

import numpy as np
import pytest
from PIL import Image

from rockstar_client import AsyncHttpClient, HttpClient, InvalidRequestError
from tests.command_line import invoke
from tests.contracts import LABELS
from tests.http_servers import application
from tests.images import png
from tests.table_models import ROW, regression, table_classifier
from tests.unit.gateway.conftest import LIMITED, FakeServer


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
    # The toy's score is the image's mean: covering ink lowers it, covering paper does not.
    assert score == pytest.approx(server.batches[0][0].mean())
    assert heatmap.max() > 0
    assert len(server.batches) == 1


def test_another_label_may_be_explained(http, image):
    answer = explain(http, image, f"?of={LABELS[2]}").get_json()
    assert answer["label"] == LABELS[2]
    assert np.array(answer["heatmap"]).min() < 0


def test_a_picture_where_it_is_preferred(http, image):
    response = explain(http, image, Accept="image/png")
    assert response.mimetype == "image/png"
    assert Image.open(io.BytesIO(response.data)).size == (336, 336)


@pytest.fixture
def table(server):
    server.versions = {1: table_classifier()}
    return server


def test_the_effect_of_each_column_on_the_score(http, table):
    answer = http.post("/explain/toy", json={"instances": [ROW]}).get_json()
    # The toy's score is the mean of the four values: (2 + 0 + 1 + 0) / 4.
    assert answer == {
        "model": "toy",
        "version": 1,
        "label": LABELS[0],
        "score": 0.75,
        "method": "replacement",
        "columns": [
            {"name": "petal width", "value": 2.0, "replaced_by": 1.0, "effect": 0.5},
            {"name": "color", "value": "red", "replaced_by": None, "effect": 0.25},
        ],
    }
    (batch,) = table.batches
    np.testing.assert_array_equal(batch, [[2, 0, 1, 0], [0, 0, 1, 0], [2, 0, 0, 0]])


def test_a_label_of_a_row_that_columns_spoke_against(http, table):
    path = f"/explain/toy?of={LABELS[1]}"
    answer = http.post(path, data="color,petal width\nred,2.0\n", content_type="text/csv")
    columns = answer.get_json()["columns"]
    assert [column["effect"] < 0 for column in columns] == [True, True]
    assert columns[0] == columns[0] | {"name": "petal width", "value": "2.0"}


def test_a_regression_explains_its_value_and_lists_imputed_columns(http, server):
    server.versions = {1: regression()}
    answer = http.post("/explain/toy", json={"instances": [{"color": "white", "x": 1}]}).get_json()
    assert answer["value"] == 1.0
    assert "label" not in answer
    assert answer["imputed"] == {"petal width": 1.0}
    assert answer["ignored"] == ["x"]
    assert [column["name"] for column in answer["columns"]] == ["color", "petal width"]
    assert answer["columns"][1] == {
        "name": "petal width",
        "value": None,
        "replaced_by": 1.0,
        "effect": 0.0,
    }
    wrong = http.post("/explain/toy?of=cat", json={"instances": [ROW]})
    assert (wrong.status_code, wrong.get_json()["field"]) == (400, "of")


def test_the_command_names_the_column_of_an_invalid_value(create_gateway, table, tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("petal width,color\nwide,red\n")
    with application(create_gateway(LIMITED, table)) as url:
        result = invoke("explain", "--url", url, "--model", "toy", file)
    assert f"{file}: petal width: expected a number, got the text 'wide'" in result.stderr


def test_clients_explain_images(create_gateway, image):
    with application(create_gateway(LIMITED, FakeServer())) as url, HttpClient(url) as client:
        found = client.explain("toy", image, of=LABELS[2])
        assert (found.label, np.shape(found.heatmap)) == (LABELS[2], (8, 8))
        with pytest.raises(InvalidRequestError, match=r"inputs\[0\]: expected an image"):
            client.explain("toy", b"no image")
        with pytest.raises(InvalidRequestError, match="inputs: expected one example, got 2"):
            client.explain("toy", [image, image])


def test_clients_explain_rows(create_gateway, table):
    async def explain(url):
        async with AsyncHttpClient(url) as client:
            return await client.explain("toy", ROW)

    with application(create_gateway(LIMITED, table)) as url:
        found = asyncio.run(explain(url))
    assert {column.name for column in found.columns} == set(ROW)
