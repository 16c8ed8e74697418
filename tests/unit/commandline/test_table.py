import pytest

from rockstar_cli.output import table

ROWS = [("MODEL", "SIZE", "METRICS"), ("cnn", "40", "test_accuracy 0.99"), ("logistic", "8", "-")]


def test_columns_are_in_line():
    assert table(ROWS, right={1}, width=80).splitlines() == [
        "MODEL     SIZE  METRICS",
        "cnn         40  test_accuracy 0.99",
        "logistic     8  -",
    ]


@pytest.mark.parametrize("width", [33, 30, 24])
def test_no_line_is_wider_than_asked(width):
    lines = table(ROWS, right={1}, width=width).splitlines()
    assert max(map(len, lines)) == width
    assert lines[1].endswith("…")


def test_a_column_never_becomes_too_narrow_to_say_something():
    assert "test_ac…" in table(ROWS, width=1)


def test_a_pipe_gets_everything():
    assert "x" * 500 in table([("HEAD",), ("x" * 500,)])
