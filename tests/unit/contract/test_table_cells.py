"""Numbers and dates in the cells of tables."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rockstar_contract.table_cells import (
    ISO,
    TIME,
    date_text,
    decimal_sign,
    parse_date,
    parse_number,
    parse_quantity,
)


@pytest.mark.parametrize(
    ("text", "decimal", "number"),
    [
        ("1,234.5", ".", 1234.5),
        ("1.234,5", ".", 1234.5),
        ("1.234.567", ".", 1234567),
        ("12,34,567.8", ".", 1234567.8),
        ("1,234", ".", 1234),
        ("1,234", ",", 1.234),
        ("1.234", ".", 1.234),
        ("1.234", ",", 1234),
        ("0,123", ".", 0.123),
        ("0.123", ",", 0.123),
        ("5,1", ".", 5.1),
        ("12345,678", ".", 12345.678),
        ("1 234,5", ".", 1234.5),
        ("1\u00a0234", ".", 1234),
        ("1'234.50", ".", 1234.5),
        ("€ 1.234,50", ".", 1234.5),
        ("1.234,50 EUR", ".", 1234.5),
        ("-$5", ".", -5),
        ("$-5", ".", -5),
        ("(5)", ".", -5),
        ("\u22125", ".", -5),
        ("12 %", ".", 12),
        ("1.5e3", ",", 1500),
        (".5", ".", 0.5),
        ("5.", ",", 5),
        ("inf", ".", float("inf")),
    ],
)
def test_numbers(text, decimal, number):
    assert parse_number(text, decimal) == number


@pytest.mark.parametrize(
    "text",
    [
        *(
            "2h 50m",
            "19h",
            "90 min",
            "2 hours, 5 minutes",
            "26:10:05",
            "1 days 02:03:04.5",
            "3 days",
        ),
        *(
            "PT2H29M",
            "PT4M13S",
            "P1DT2H",
            "-1h 30m",
            "1.5 hours",
            "30 s",
            "2 W",
            "45 seconds",
            "20ms",
        ),
    ],
)
def test_durations_are_those_of_pandas(text):
    wanted = pd.to_timedelta(text).total_seconds()
    assert parse_quantity(text, "duration") == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("text", "quantity", "number"),
    [
        ("€565K", "amount", 565e3),
        ("-$1.2M", "amount", -1.2e6),
        ("1,2 Mn", "amount", 1.2e6),
        ("950", "amount", 950),
        ("1M 200K", "amount", None),
        ("12A", "amount", None),
        ("3:45", "duration", 225),
        ("2 years", "duration", 63115200),
        ("5m 2h", "duration", None),
        ("1h-2h", "duration", None),
        ("170", "duration", 170),
        ("5'11\"", "length", 71 * 0.0254),
        ("5’11", "length", 71 * 0.0254),
        ("6 ft 2 in.", "length", 74 * 0.0254),
        ("1 lb 8 oz", "mass", 0.680388555),
        ("large", "mass", None),
    ],
)
def test_quantities(text, quantity, number):
    found = parse_quantity(text, quantity)
    assert found == (None if number is None else pytest.approx(number))


NO_NUMBERS = (
    """abc nan 1_000 1.2.3 1,2,3 --5 +-5 . , 192.168.1.1 12:30 2024-01-01 ٣ 0x10 1,23,4 (5 e5"""
)


@pytest.mark.parametrize("text", ["", "1 2", "5 kg", *NO_NUMBERS.split()])
def test_texts_that_are_not_numbers(text):
    assert parse_number(text) is None


@given(st.floats(-1e100, 1e100), st.sampled_from(["{!r}", "{:.3f}", "{:,.2f}", "{:e}", "{:+}"]))
def test_numbers_of_programs_are_parsed_as_in_python(number, form):
    text = form.format(number)
    wanted = float(text.replace(",", ""))
    assert parse_number(text) == wanted


@given(st.floats(-1e12, 1e12))
def test_german_numbers(number):
    text = f"{number:,.2f}".translate(str.maketrans(",.", ".,"))
    assert parse_number(text, ",") == float(f"{number:.2f}")


@pytest.mark.parametrize(
    ("texts", "sign"),
    [
        (["5,1", "text"], ","),
        (["5.1", "1,234"], "."),
        (["1,234"], None),
        (["1.234.567"], ","),
        (["1,5", "2.5"], None),
        (["1.234,5"], ","),
    ],
)
def test_the_decimal_sign(texts, sign):
    assert decimal_sign(texts) == sign


@pytest.mark.parametrize(
    ("text", "form", "days"),
    [
        ("2022-01-08", ISO, 19000),
        ("2022-01-08T06:00", ISO, 19000.25),
        ("2022-01-08T02:00+02:00", ISO, 19000),
        ("20220108", ISO, None),
        ("2022", ISO, None),
        ("08.01.2022", "%d.%m.%Y", 19000),
        ("01/08/22 12:00", "%m/%d/%y %H:%M", 19000.5),
        ("30.02.2022", "%d.%m.%Y", None),
        ("2022-01-08 06:00:00 UTC", ISO, 19000.25),
        ("Saturday, January 8, 2022", "%B %d %Y", 19000),
        ("Jan 8, 2022", "%b %d, %Y", 19000),  # as in earlier contracts
        ("0001-01-01T00:00+14:00", ISO, None),
        ("9:30", TIME, 9.5 / 24),
        ("21:30:45", TIME, 21.5125 / 24),
        ("12:05 am", TIME, 1 / 288),
        ("9:30 P.M.", TIME, 21.5 / 24),
        ("00:00", TIME, 0),
        ("24:00", TIME, None),
        ("13:00 pm", TIME, None),
        ("3:1", TIME, None),  # a score
        ("16:9", TIME, None),
        ("2022-01-08", TIME, None),
    ],
)
def test_dates(text, form, days):
    found = parse_date(text, form)
    assert found == (None if days is None else pytest.approx(days, abs=1e-12))


def test_formatting_dates():
    assert date_text(19000) == "2022-01-08"
    assert date_text(19000.25) == "2022-01-08T06:00"
    assert date_text(21.5 / 24, TIME) == "21:30"
