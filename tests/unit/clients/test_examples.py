import datetime
import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from rockstar_client import InvalidRequestError
from rockstar_client.examples import named_examples
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.tables import TextRow
from tests.unit.clients.http_server import Server, running


def read_examples(inputs):
    return [named.example for named in named_examples(inputs)]


def test_cells_of_rows_become_plain_values():
    (row,) = read_examples({"a": np.float32(1.5), "b": np.str_("x"), "c": np.int64(2)})
    assert row == {"a": 1.5, "b": "x", "c": 2}
    assert [type(value) for value in row.values()] == [float, str, int]


def test_each_row_of_a_csv_file_is_an_example(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1,x\n2,y\n")
    rows = read_examples([path, str(path)])
    assert rows == [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}] * 2
    assert all(isinstance(row, TextRow) for row in rows)


def test_the_error_of_a_csv_file_names_it(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1\n")
    with pytest.raises(InvalidInputError, match=r"inputs\[0\] \(rows.csv\): .*line 2"):
        read_examples(path)


@pytest.mark.parametrize("wrong", [[5], [b"x", None]])
def test_other_types_are_rejected(wrong):
    with pytest.raises(
        InvalidInputError, match="expected a path, bytes, a PIL image, a NumPy array, a dict"
    ):
        read_examples(wrong)


FRAME = pd.DataFrame(
    {
        "width": [2.5, None],
        "count": pd.array([3, None], dtype="Int64"),
        "small": np.array([1, 2], np.int8),
        "color": pd.Categorical(["red", None]),
        "name": ["ann", None],
        "sold": [True, False],
        "day": pd.to_datetime(["2026-11-28 12:30", None]),
        7: [Decimal("1.5"), Decimal("2")],
    },
    index=["a", "b"],
)
ROWS = [
    {"width": 2.5, "count": 3, "small": 1, "color": "red", "name": "ann", "sold": True,
     "day": "2026-11-28T12:30:00", "7": 1.5},
    {"width": None, "count": None, "small": 2, "color": None, "name": None, "sold": False,
     "day": None, "7": 2.0},
]  # fmt: skip


@pytest.mark.parametrize(
    "frame",
    [
        FRAME,
        FRAME.rename(columns=str).to_dict("records"),
        (row.to_dict() for _, row in FRAME.iterrows()),
        pa.Table.from_pandas(FRAME.rename(columns=str), preserve_index=False),
        pa.RecordBatch.from_pandas(FRAME.rename(columns=str), preserve_index=False),
    ],
    ids=["pandas", "records", "rows", "pyarrow", "record batch"],
)
def test_each_row_of_a_data_frame_is_an_example(frame):
    rows = read_examples(frame)
    assert rows == ROWS
    json.dumps(rows, allow_nan=False)


def test_missing_values_of_a_data_frame_are_sent_as_null(connect_http):
    with running(Server()) as server, connect_http(server.url) as client:
        client.predict("toy", FRAME)
    assert json.loads(server.seen[0].body) == {"instances": ROWS}


def test_dates_and_times_in_a_row():
    row = {
        "a": np.datetime64("2026-11-28T12:30:00.000000001"),
        "b": np.datetime64("NaT"),
        "c": datetime.date(2026, 11, 28),
        "d": float("nan"),
        "e": pd.NaT,
        "f": pd.NA,
        "g": np.array([[1.5, 2.0]], np.float32),
    }
    assert read_examples(row) == [
        {"a": "2026-11-28T12:30:00.000000001", "b": None, "c": "2026-11-28", "d": None, "e": None,
         "f": None, "g": [[1.5, 2.0]]}
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME.iloc[:0], "expected one or more examples, got none"),
        (FRAME.rename(columns={"name": "width"}), "a name for each column, got width more than"),
        ([FRAME.iloc[0]], r"got Series; pass a row of a DataFrame as row\.to_dict\(\)"),
        (FRAME.iloc[0], "inputs.0.: expected a path"),
    ],
)
def test_invalid_data_frames(frame, message):
    with pytest.raises(InvalidInputError, match=message):
        read_examples(frame)


def test_an_invalid_value_in_a_row(connect_http):
    with (
        connect_http("http://127.0.0.1:1") as client,
        pytest.raises(InvalidRequestError, match="got a value of type set"),
    ):
        client.predict("toy", {"a": {1, 2}})
