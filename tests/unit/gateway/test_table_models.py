"""Predictions of table models for rows, and numbers from regressions."""

import base64
import csv
import gzip
import io
import json
import mimetypes

import numpy as np
import pytest

from rockstar_client.backend import TensorResponse
from tests.contracts import make_contract
from tests.spreadsheets import NAMES
from tests.table_models import ROW, TENSOR, regression, table_classifier
from tests.unit.gateway.conftest import post

CSV = "color,petal width\nred,2.0\nwhite,1.5\n"


DATA_URL = "data:application/vnd.ms-excel;base64," + base64.b64encode(CSV.encode()).decode()


@pytest.fixture
def table(server):
    server.versions = {1: table_classifier()}
    return server


@pytest.fixture
def number(server, monkeypatch):
    """A regression that returns the sum of its input."""
    server.versions = {1: regression()}

    def predict(query):
        (batch,) = query.inputs.values()
        return TensorResponse({"prediction": batch.sum(axis=1, keepdims=True)}, 1)

    monkeypatch.setattr(server, "predict", predict)
    return server


def ask(http, *rows):
    data = json.dumps({"instances": rows})
    return http.post("/predict/toy", data=data, content_type="application/json")


def test_rows_by_column_name(http, table):
    response = ask(http, ROW, ROW | {"color": "white", "petal width": 1.5})
    assert response.status_code == 200
    assert [len(p["top"]) for p in response.get_json()["predictions"]] == [3, 3]
    np.testing.assert_array_equal(table.batches[0], [TENSOR, [1, 0, 0, 1]])


def test_csv_with_a_header_is_the_same(http, table):
    as_json = ask(http, ROW, {"color": "white", "petal width": 1.5}).get_json()
    body = http.post("/predict/toy", data=CSV, content_type="text/csv; charset=utf-8")
    assert body.get_json() == as_json
    form = http.post("/predict/toy", data={"rows": (io.BytesIO(CSV.encode()), "rows.csv")})
    assert form.get_json() == as_json


def test_an_array_is_the_model_input(http, table):
    assert ask(http, TENSOR, ROW).status_code == 200
    np.testing.assert_array_equal(table.batches[0], [TENSOR, TENSOR])


def test_a_regression_returns_values(http, number):
    response = ask(http, ROW, TENSOR)
    assert response.get_json() == {
        "model": "toy",
        "version": 1,
        "predictions": [{"value": 3.0}, {"value": 3.0}],
    }


def test_a_model_server_that_breaks_the_contract_is_to_blame(http, number, monkeypatch):
    answer = TensorResponse({"prediction": np.zeros((1, 2))}, 1)
    monkeypatch.setattr(number, "predict", lambda *_, **__: answer)
    assert ask(http, ROW).status_code == 502


def test_models_list_columns_task_and_target(http, number):
    (model,) = http.get("/v1/models").get_json()["models"]
    assert (model["task"], model["target"], model["labels"]) == ("regression", "price", [])
    assert model["input"]["kind"] == "table"
    assert [column["name"] for column in model["input"]["columns"]] == ["petal width", "color"]
    assert model["input"]["columns"][1]["categories"] == ["blue", "red", "white"]


def test_an_incomplete_row_lists_imputed_and_ignored_columns(http, table):
    complete, incomplete = ROW, {"petal width": None, "color": "green", "species": "one", "id": 7}
    document = ask(http, complete, incomplete, {"color": "red"}).get_json()
    np.testing.assert_array_equal(table.batches[0], [TENSOR, [0, 0, 0, 0], [0, 0, 1, 0]])
    adjusted = [
        {name: p[name] for name in ("imputed", "other") if name in p}
        for p in document["predictions"]
    ]
    assert adjusted == [
        {},
        {"imputed": {"petal width": 1.0}, "other": {"color": "green"}},
        {"imputed": {"petal width": 1.0}},
    ]
    assert document["ignored"] == ["species", "id"]
    assert "ignored" not in ask(http, ROW).get_json()


def test_a_form_of_a_page_in_another_encoding(http, table):
    body = b"color=red&petal+width=2&city=K%F6ln"
    form = "application/x-www-form-urlencoded"
    assert http.post("/predict/toy", data=body, content_type=form).status_code == 200
    np.testing.assert_array_equal(table.batches[0], [TENSOR])


@pytest.mark.parametrize("path", ["/predict/toy", "/explain/toy"])
def test_an_emoji_that_javascript_cut(http, table, path):
    row = {"petal width": 2.0, "color": "\ud83d", "\U0001f427\ud800": 1}
    response = http.post(path, data=json.dumps([row]), content_type="application/json")
    assert response.status_code == 200, response.text
    assert "\ufffd" in response.text
    assert response.get_json()["ignored"] == ["\U0001f427\ufffd"]


def test_a_csv_response_has_a_column_of_adjustments(http, table):
    text = "color,petal width,species\nred,2.0,one\ngreen,,two\n"
    headers = {"Accept": "text/csv"}
    answer = http.post("/predict/toy", data=text, content_type="text/csv", headers=headers)
    head, *rows = csv.reader(io.StringIO(answer.text))
    assert head == ["example", "label", "score", "error", "adjusted"]
    assert [row[-1] for row in rows] == [
        "species ignored",
        "petal width imputed as 1; color 'green' taken as other; species ignored",
    ]


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        ("color;petal width\nred;2,0\nwhite;1,5\n".encode("utf-16"), "text/csv"),
        (b"petal width\tcolor\n2.0\tred\n1.5\twhite\n", "text/tab-separated-values"),
        ("Ärger;color;petal width;\r\n1;red; 2,0;\r\n;white;1,5;\r\n;;;\r\n".encode("cp1252"), "text/csv"),
        (b'"color" "petal width"\n"1" "red" 2\n"2" "white" 1.5\n', "text/csv; charset=ascii"),
        (gzip.compress(CSV.encode()), "text/csv"),
    ],
    ids=["utf-16", "tabs", "a spreadsheet in German", "R", "gzip"],
)  # fmt: skip
def test_csv_as_programs_write_it_is_the_same_rows(http, table, data, content_type):
    response = http.post("/predict/toy", data=data, content_type=content_type)
    assert response.status_code == 200, response.text
    np.testing.assert_array_equal(table.batches[0], [TENSOR, [1, 0, 0, 1]])
    name = "rows.csv.gz" if data[:2] == b"\x1f\x8b" else "rows.csv"
    response = http.post("/predict/toy", data={"file": (io.BytesIO(data), name)})
    np.testing.assert_array_equal(table.batches[1], table.batches[0])
    assert http.post("/predict/toy", data=data).status_code == 200


@pytest.mark.parametrize(
    "content_type",
    [None, "application/x-www-form-urlencoded", "application/vnd.ms-excel", "text/x-csv", "binary/octet-stream"],
)  # fmt: skip
def test_csv_is_recognized(http, table, content_type):
    """As sent by curl --data-binary, and by browsers on computers with a spreadsheet program."""
    response = http.post("/predict/toy", data=CSV, content_type=content_type)
    assert response.status_code == 200, response.text
    files = {
        "rows": (io.BytesIO(CSV.encode()), "rows.txt"),
        "more": (io.BytesIO(json.dumps([ROW]).encode()), "rows.json"),
    }
    assert http.post("/predict/toy", data=files).status_code == 200
    np.testing.assert_array_equal(table.batches[0], [TENSOR, [1, 0, 0, 1]])
    np.testing.assert_array_equal(table.batches[1], [TENSOR, [1, 0, 0, 1], TENSOR])


@pytest.mark.parametrize(
    ("fields", "tensors"),
    [
        (ROW, [TENSOR]),
        (ROW | {"petal width": "2,0", "submit": "Predict"}, [TENSOR]),
        ({"petal width": " ", "color": "red"}, [[0, 0, 1, 0]]),
        (ROW | {"größe": "é"}, [TENSOR]),
        ({"rows": CSV}, [TENSOR, [1, 0, 0, 1]]),
        ({"rows": DATA_URL}, [TENSOR, [1, 0, 0, 1]]),
        ({"note": "a", "rows": json.dumps([ROW])}, [TENSOR]),
    ],
)
@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data"])
def test_fields_of_an_html_form_are_a_row(http, table, kind, fields, tensors):
    response = http.post("/predict/toy", data=fields, content_type=kind)
    assert response.status_code == 200, response.text
    np.testing.assert_array_equal(table.batches[0], tensors)


SPLIT = {"columns": [*ROW], "data": [[*ROW.values()]]}


@pytest.mark.parametrize(
    "document",
    [[ROW], SPLIT, SPLIT | {"index": [0]}, {"dataframe_split": SPLIT}, {"dataframe_records": [ROW]}, {"inputs": [ROW]}, {"instances": ROW}],
)  # fmt: skip
def test_data_frames_as_pandas_and_mlflow_write_them(http, table, document):
    response = http.post("/predict/toy", json=document)
    assert response.status_code == 200, response.text
    np.testing.assert_array_equal(table.batches[0], [TENSOR])


STRICT = [
    ({"color": "red"}, "instances[1].petal width", "nothing"),
    (ROW | {"hue": 1}, "instances[1].hue", "the target too"),
    (ROW | {"petal width": "2.0"}, "instances[1].petal width", "text"),
    (ROW | {"color": "green"}, "instances[1].color", "green"),
]
WRONG = [
    ({}, "instances[1]", "petal width"),
    ({"hue": 1}, "instances[1].hue", "unknown column"),
    (ROW | {"petal width": float("inf")}, "instances[1].petal width", "inf"),
    ([1.0, 2.0], "instances[1]", "[2]"),
    ([1e39, 0, 0, 0], "instances[1]", "1e+39"),
    ({"b64": "AAAA"}, "instances[1].b64", "petal width"),
]


@pytest.mark.parametrize(("instance", "field", "mentions"), WRONG)
def test_a_bad_row_is_named_by_its_column(http, table, instance, field, mentions):
    response = ask(http, ROW, instance)
    assert response.status_code == 400
    problem = response.get_json()
    assert problem["field"] == field
    assert mentions in json.dumps(problem)


@pytest.mark.parametrize(("instance", "field", "mentions"), STRICT)
def test_strictly_an_incomplete_row_is_bad(http, table, instance, field, mentions):
    assert ask(http, ROW, instance).status_code == 200
    data = json.dumps({"instances": [ROW, instance]})
    response = http.post("/predict/toy?strict=true", data=data, content_type="application/json")
    assert response.status_code == 400
    problem = response.get_json()
    assert problem["field"] == field
    assert mentions in json.dumps(problem)


@pytest.mark.parametrize(
    ("text", "field", "mentions"),
    [
        ("color,petal width\nred,2\nred,wide\n", "body row 2.petal width", "'wide'"),
        ("tint,width\nred,2\n", "body row 1.tint", "petal width"),
        ("", "body", "no rows"),
    ],
)
def test_a_bad_csv_body_is_named_by_row_and_column(http, table, text, field, mentions):
    response = http.post("/predict/toy", data=text, content_type="text/csv")
    assert response.status_code == 400
    problem = response.get_json()
    assert problem["field"] == field
    assert mentions in json.dumps(problem)


def test_too_many_rows(http, table):
    rows = "petal width,color\n" + "1,red\n" * 9
    assert http.post("/predict/toy", data=rows, content_type="text/csv").status_code == 413


def test_an_image_to_a_table_model(http, table):
    response = post(http)
    assert response.status_code == 400
    problem = response.get_json()
    assert "petal width" in problem["expected"]
    assert "image" in problem["got"]
    assert "text/csv" in problem["hint"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("model", [table_classifier, make_contract])
def test_a_workbook_is_to_be_saved_as_csv(http, server, name, model):
    server.versions = {1: model()}
    data, kind = NAMES[name]
    requests = [
        {"data": {"rows": (io.BytesIO(data), name)}},
        {"data": data, "content_type": "application/octet-stream"},
        {"data": data, "content_type": "application/x-www-form-urlencoded"},
        {"data": data, "content_type": "text/csv"},
        {"data": data, "content_type": mimetypes.guess_type(name)[0]},
        {"json": {"instances": [{"b64": base64.b64encode(data).decode()}]}},
    ]
    for request in requests:
        response = http.post("/predict/toy", **request)
        assert response.status_code == 400, response.text
        problem = response.get_json()
        assert (problem["got"], problem["hint"]) == (kind, "save the sheet as CSV (UTF-8)")


def test_errors_of_csv_in_another_encoding_name_the_encoding(http, table):
    for encoding, text, content_type, mentions in [
        ("cp1250", "odejście,x\n1,2\n", "text/csv", "read as Windows-1252 (cp1252), not UTF-8"),
        ("cp1251", "цвет\nда\n", "text/csv; charset=utf-8", "a CSV file in UTF-8, got byte 0xf6"),
        ("gbk", "年龄,姓名\n1,张伟\n", "text/csv", "a CSV file in UTF-8, got byte 0xc4 in line 1"),
        ("shift_jis", "ソー\nア,\n", "text/csv", "read as Latin-1 (iso8859-1), not UTF-8"),
    ]:
        data = text.encode(encoding)
        response = http.post("/predict/toy", data=data, content_type=content_type)
        assert response.status_code == 400
        detail = response.get_json()["detail"]
        assert mentions in detail
        assert "save the file as CSV UTF-8" in detail


@pytest.mark.parametrize("row", [ROW, {}])
def test_a_row_to_an_image_model(http, server, row):
    response = ask(http, row)
    assert response.status_code == 400
    problem = response.get_json()
    assert problem["field"] == "instances[0]"
    assert "image" in problem["expected"]
    assert "b64" in problem["hint"]
