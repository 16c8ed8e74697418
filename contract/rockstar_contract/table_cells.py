"""Cells of tables: texts that mean "missing", and numbers and dates as people write them.

Training and serving read cells with the same functions. A comma or point before three digits
("1,234") is ambiguous: `decimal_sign` looks for the answer in other cells, the contract keeps it.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

# In lower case. What pandas reads as missing or writes for a missing date, "?", which many public
# data sets use, errors of Excel in English, German and French, and zeros that stand for no date.
MISSING = frozenset(
    {"", "?", "na", "n/a", "nan", "null", "nil", "<na>", "#n/a", "#na", "#null!", "#value!"}
    | {"#div/0!", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", "-nan", "nat"}
    | {"#ref!", "#name?", "#num!", "#nv", "#bezug!", "#wert!", "#zahl!", "#valeur!", "#nom?"}
    | {"#nombre!", "0000-00-00", "0000-00-00 00:00:00", "00.00.0000", "00/00/0000"}
)
# In a column of categories these are categories: a house may have "none" for a garden.
MISSING_NUMBERS = MISSING | {"none", "-", "--", ".", "n.a.", "missing", "unknown"}

# How dates are written, besides ISO 8601; where a text fits several, the first that fits all rows.
DATE_FORMATS = (
    *("%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y", "%Y.%m.%d"),
    *("%d.%m.%y", "%m/%d/%y", "%d/%m/%y", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y"),
    *("%d %B %Y", "%B %d, %Y", "%Y-%m", "%m/%Y"),
)
TIME_FORMATS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
ISO = "iso"

# Numbers that show a decimal sign: more than so many are not asked for it.
_VOTES = 1000
_EPOCH = datetime(1970, 1, 1)
_DAY = timedelta(days=1)

_PLAIN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_INFINITE = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)
_CURRENCY = r"(?:[$€£¥₹₽₩₺฿¢]|USD|EUR|GBP|CHF|JPY|Fr\.)"
_ADORNED = re.compile(
    rf"(?P<sign>[+-]?) ?(?:{_CURRENCY} ?)?(?P<sign2>[+-]?) ?"
    r"(?P<digits>[\d.,](?:[\d.,'’ ]*[\d.,])?)(?P<exponent>[eE][+-]?\d+)?"
    rf" ?(?:{_CURRENCY}|%|‰)?",
    re.ASCII | re.IGNORECASE,
)
_GROUPS = {
    " ": re.compile(r"\d{1,3}(?: \d{3})+"),
    "'": re.compile(r"\d{1,3}(?:['’]\d{3})+"),
    # Also lakh and crore: 12,34,567.
    ",": re.compile(r"(?:\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d{2})+,\d{3})"),
    ".": re.compile(r"\d{1,3}(?:\.\d{3})+"),
}


def parse_number(text: str, decimal: str = ".") -> float | None:
    """A number as people write it: 1,234.5 or 1.234,5 or 1 234,5, -$5, (5), 12 %, 1e-3.

    Args:
        text: without spaces around it.
        decimal: the decimal sign, "." or ",", where the text fits both. A percent sign is dropped:
            12 % is 12.

    Returns:
        The number, which may be infinite; None where the text is no number. NaN is none.
    """
    if decimal == "." and _PLAIN.fullmatch(text):
        return float(text)
    if _INFINITE.fullmatch(text):
        return float(text)
    text = _tidy(text)
    negative = text.startswith("(") and text.endswith(")")
    found = _ADORNED.fullmatch(text[1:-1].strip() if negative else text)
    if found is None or (found["sign"] and found["sign2"]):
        return None
    digits = _without_groups(found["digits"], decimal if not found["exponent"] else "")
    if digits is None:
        return None
    number = float(digits + (found["exponent"] or ""))
    return -number if negative or "-" in (found["sign"], found["sign2"]) else number


def decimal_sign(texts: Iterable[str]) -> str | None:
    """The decimal sign of numbers, "." or ","; None where no text tells, or as many tell each."""
    votes = {".": 0, ",": 0}
    for text in texts:
        if ("," in text or "." in text) and (sign := _decimal_of(text)):
            votes[sign] += 1
            if sum(votes.values()) == _VOTES:
                break
    if votes["."] == votes[","]:
        return None
    return max(votes, key=votes.__getitem__)


def parse_date(text: str, form: str) -> float | None:
    """A date as days since 1970-01-01, the time of day as a fraction; UTC where it has a zone.

    Args:
        text: without spaces around it.
        form: ISO, or a format of `strptime`.

    Returns:
        None where the text is no such date.
    """
    try:
        if form == ISO:
            # A year alone, or digits alone, are numbers.
            if "-" not in text:
                return None
            moment = datetime.fromisoformat(text)
        else:
            moment = datetime.strptime(text, form)
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None
    return (moment - _EPOCH) / _DAY


def date_text(days: float, form: str = ISO) -> str:
    """Days since 1970-01-01, to the minute, as `parse_date` reads them.

    ISO 8601 goes without the time where that is midnight.
    """
    moment = _EPOCH + timedelta(minutes=round(days * 1440))
    if form != ISO:
        return moment.strftime(form)
    return moment.isoformat(timespec="minutes").removesuffix("T00:00")


def _tidy(text: str) -> str:
    """A number with single plain spaces and the plain minus sign."""
    return " ".join(text.replace("\u2212", "-").split())


def _decimal_of(text: str) -> str | None:
    """The decimal sign that one text shows beyond doubt."""
    found = _ADORNED.fullmatch(_tidy(text))
    if found is None:
        return None
    digits = found["digits"]
    points, commas = digits.count("."), digits.count(",")
    if points and commas:
        return "." if digits.rindex(".") > digits.rindex(",") else ","
    sign, other = (".", ",") if points else (",", ".")
    if not _GROUPS[sign].fullmatch(digits) or digits.startswith("0"):
        return sign if points + commas == 1 else None
    return other if points + commas > 1 else None


def _without_groups(digits: str, decimal: str) -> str | None:
    """Digits with separators as `float` takes them; None where the separators make no sense."""
    whole, fraction = digits, ""
    points, commas = digits.count("."), digits.count(",")
    sign = ""
    if points and commas:
        sign = "." if digits.rindex(".") > digits.rindex(",") else ","
    elif points + commas == 1:
        sign = "." if points else ","
        grouped = _GROUPS[sign].fullmatch(digits) and not digits.startswith("0")
        if grouped and decimal and sign != decimal:
            sign = ""
    if sign:
        if digits.count(sign) > 1:
            return None
        whole, fraction = digits.split(sign)
    if fraction and not fraction.isdigit():
        return None
    if not (whole.isdigit() or (whole == "" and fraction)):
        if not any(pattern.fullmatch(whole) for pattern in _GROUPS.values()):
            return None
        whole = re.sub(r"[ '’.,]", "", whole)
    return f"{whole or '0'}.{fraction or '0'}"
