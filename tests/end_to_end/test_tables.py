"""Models of tables through all processes: `rockstar serve`, both clients, `rockstar predict`."""

import json

import numpy as np
import pytest
import requests

from rockstar_client.errors import InvalidRequestError
from rockstar_client.grpc import GrpcClient
from rockstar_client.http import HttpClient
from tests.command_line import invoke
from tests.images import png, stroke
from tests.model_fixtures import write_linear
from tests.table_models import ROW, regression, table_classifier

ROWS = [ROW, {"petal width": 0.5, "color": "blue"}, {"petal width": -1, "color": "white"}]
CSV = "color,petal width\nred,2.0\nblue,0.5\nwhite,-1\n"
# An encoded row: the number, and 0, 1 or 2 for the color.
WEIGHTS = np.array([[1.0], [0.0], [1.0], [2.0]], np.float32)
ARRAYS = [np.array([2, 0, 1, 0]), np.array([-1, 1, 0, 0]), np.array([-4, 0, 0, 1])]
VALUES = [3.0, -1.0, -2.0]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    for contract, weights in [
        (regression(model="price"), WEIGHTS),
        (table_classifier(model="species"), np.eye(4, dtype=np.float32) * 9),
    ]:
        write_linear(folder, contract, weights)
    return folder


def test_rows_over_both_clients(service, tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text(CSV)
    with HttpClient(service.http) as http, GrpcClient(service.grpc) as grpc:
        for client in (http, grpc):
            for inputs in (ROWS, file, ARRAYS):
                answer = client.predict("price", inputs)
                assert answer.predictions == ()
                np.testing.assert_allclose([v.value for v in answer.values], VALUES)
            answer = client.predict("species", ROWS[1:])
            assert [p.label for p in answer.predictions] == ["one", "three"]
            assert answer.values == ()
            # Weights are 1 for the number, which is 1 on average, and 0, 1 and 2 for the colors.
            incomplete = [
                ROW | {"color": "green", "price": 7},
                {"color": "white"},
                ROW | {"petal width": np.float32("nan")},
            ]
            answer = client.predict("price", incomplete)
            np.testing.assert_allclose([v.value for v in answer.values], [2, 2, 1])
            green, narrow, unknown = (answer.adjusted[row] for row in range(3))
            assert green.other == {"color": "green"}
            assert green.ignored == ["price"]
            assert narrow.imputed == unknown.imputed == {"petal width": 1}
            for row in incomplete:
                with pytest.raises(InvalidRequestError, match=r"petal width|color|price"):
                    client.predict("price", [row], strict=True)
            assert client.predict("price", ROWS, strict=True).adjusted == {}
            answer = client.predict("species", [{"color": "white"}], top=1)
            assert answer.probabilities.shape == (1, 4)
            assert len(answer.predictions[0].top) == 1
            with pytest.raises(InvalidRequestError, match=r"petal width: .*the text 'wide'"):
                client.predict("price", ROW | {"petal width": "wide"})
            with pytest.raises(InvalidRequestError, match="inf"):
                client.predict("price", ROW | {"petal width": np.float32("inf")})
        with pytest.raises(InvalidRequestError, match="only CSV files or none"):
            http.predict("price", [file, ROW])
    body = {"data": CSV, "headers": {"Content-Type": "text/csv"}, "timeout": 20}
    answer = requests.post(f"{service.http}/predict/price", **body).json()
    assert answer["predictions"] == [{"value": value} for value in VALUES]


def test_predict_takes_csv_files(service, tmp_path):
    file, image = tmp_path / "rows.csv", tmp_path / "a.png"
    file.write_text(CSV)
    image.write_bytes(png(stroke()))
    done = invoke("predict", "--url", service.http, "--model", "price", str(file))
    assert done.stderr == ""
    assert [line.split() for line in done.stdout.splitlines()] == [
        [f"{file}:{row}", f"{value:g}"] for row, value in enumerate(VALUES, start=1)
    ]
    direct = invoke("predict", "--grpc", service.grpc, "--model", "price", str(file))
    assert direct.stdout == done.stdout
    document = json.loads(invoke("predict", "--url", service.http, "--model", "price", "--json", str(file)).stdout)  # fmt: skip
    assert document["predictions"] == [{"value": value} for value in VALUES]
    done = invoke("predict", "--url", service.http, "--model", "species", str(file))
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["zero", "one", "three"]
    wrong = invoke("predict", "--url", service.http, "--model", "price", str(image))
    assert wrong.exit_code == 1
    assert "expected a row with the columns 'petal width', 'color'" in wrong.stderr
    second = tmp_path / "more.csv"
    second.write_text("color,petal width\nred,1\ngreen,wide\n")
    for place in (["--url", service.http], ["--grpc", service.grpc]):
        wrong = invoke("predict", *place, "--model", "price", str(file), str(second))
        assert wrong.exit_code == 4
        assert f"{second}:2: petal width: expected a number" in wrong.stderr
        assert len(wrong.stdout.splitlines()) == 4


def test_predict_summarizes_changes_of_rows(service, tmp_path):
    file, out = tmp_path / "rows.csv", tmp_path / "out.csv"
    file.write_text("color,width\nred,2\ngreen,3\n")
    for place in (["--url", service.http], ["--grpc", service.grpc]):
        ask = ("predict", *place, "--model", "price", str(file))
        done = invoke(*ask)
        assert done.exit_code == 0
        assert len(done.stdout.splitlines()) == 2
        assert done.stderr == (
            "Imputed: petal width in 2 of 2 rows. Unknown categories taken as other: color in 1 of 2 "
            "rows. Ignored columns: width. With --strict such rows fail.\n"
        )
        assert "petal width in 2 of 2 rows" in invoke(*ask, "-o", str(out), "--restart").stderr
        strict = invoke(*ask, "--strict")
        assert strict.exit_code == 1
        assert f"{file}:1: " in strict.stderr


def test_explain_takes_csv_files(service, tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text(CSV)
    ask = ("explain", "--url", service.http, "--model")
    done = invoke(*ask, "price", str(file))
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"{file}:1  3  petal width 2.0 (+2), color red (+1)",
        f"{file}:2  -1  petal width 0.5 (-1)",
        f"{file}:3  -2  petal width -1 (-4), color white (+2)",
    ]
    document = json.loads(invoke(*ask, "species", "--of", "one", "--json", str(file)).stdout)
    first = document["explanations"][0]
    assert (first["row"], first["label"], first["value"]) == (1, "one", None)
    assert [column["name"] for column in first["columns"]] == ["petal width", "color"]
    assert first["columns"][0]["effect"] < 0 < first["score"]
    wrong = invoke(*ask, "price", str(file), "-o", "why.png")
    assert wrong.exit_code == 2
    assert "rows have no heat map" in wrong.stderr


def test_tables_into_files(service, tmp_path):
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "1.csv").write_text(CSV)
    (tables / "2.csv").write_text("color;petal width\nred;1\ngreen;wide\nred\n")
    for place in (["--url", service.http], ["--grpc", service.grpc]):
        out = tables / f"{place[0]}.csv"
        done = invoke("predict", *place, "--model", "price", str(tables), "-o", str(out))
        assert done.exit_code == 4, done.stderr
        rows = [line.rsplit("/", 1)[1].split(",") for line in out.read_text().splitlines()[1:]]
        assert rows == [
            *([f"1.csv:{row}", f"{value}", "1"] for row, value in enumerate(VALUES, start=1)),
            ["2.csv:1", "1.0", "1"],
        ]
        failed = out.with_name(f"{out.stem}.failed.csv")
        reasons = [line.rsplit("/", 1)[1] for line in failed.read_text().splitlines()[1:]]
        assert reasons[0].startswith('2.csv:2,"petal width: expected a number')
        assert reasons[1].startswith('2.csv:3,"expected 2 values, as in the header, got 1')
        out.unlink()
        failed.unlink()
