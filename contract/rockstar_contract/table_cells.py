"""Cells of tables: texts that mean "missing", and numbers, dates and times as people write them.

Training and serving parse cells with the same functions. A comma or point before three digits
("1,234") is ambiguous: `decimal_sign` decides by other cells, and the contract records the result.
"""

import math
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

# In lower case: what pandas reads as missing or writes for a missing date, NULL of databases, "?"
# of many public data sets, errors of Excel in several languages, and zeros in place of a date.
MISSING = frozenset(
    {"", "?", "na", "n/a", "nan", "null", "nil", "<na>", "#n/a", "#na", "#null!", "#value!"}
    | {"(null)", "\\n", "#n/a n/a"}
    | {"#div/0!", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", "-nan", "nat"}
    | {"#ref!", "#name?", "#num!", "#nv", "#bezug!", "#wert!", "#zahl!", "#valeur!", "#nom?"}
    | {"#nombre!", "0000-00-00", "0000-00-00 00:00:00", "00.00.0000", "00/00/0000"}
)
# Not missing in a column of categories: the garden of a house may be "none".
MISSING_NUMBERS = MISSING | {"none", "-", "--", ".", "n.a.", "missing", "unknown"}

_DATES = (
    *("%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y", "%Y.%m.%d"),
    *("%d.%m.%y", "%m/%d/%y", "%d/%m/%y", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d %Y"),
    *("%d %B %Y", "%B %d %Y", "%b-%d-%Y", "%d/%b/%Y", "%Y-%m", "%m/%Y"),
    *("%b %Y", "%B %Y", "%b-%Y", "%b-%y", "%YM%m", "%Y%m%d"),
)
_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
ISO = "iso"
# Not a date, but a time of day.
TIME = "time"
# The first day of a quarter.
QUARTER = "quarter"
# Unix times, by the seconds in their unit.
UNIX = {"unix": 1.0, "unix milliseconds": 1e-3}
_UNIX_DIGITS = {
    "unix": re.compile(r"\d{9,10}(\.\d+)?"),
    "unix milliseconds": re.compile(r"\d{12,13}"),
}
# Date formats besides ISO 8601; of several that fit, the first that fits all rows is used.
DATE_FORMATS = (
    *(date + time for date in _DATES for time in _TIMES),
    # Of C's ctime, of e-mails, and of Twitter.
    *("%b %d %H:%M:%S %Y", "%d %b %Y %H:%M:%S %z", "%b %d %H:%M:%S %z %Y"),
    *(QUARTER, *UNIX),
)

_WEEKDAY = re.compile(r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.? ", re.ASCII | re.IGNORECASE)
# Maximum number of cells that decide about the decimal sign.
_VOTES = 1000
_CLOCK = re.compile(
    r"(?P<hour>\d{1,2}):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d(?:\.\d+)?))?"
    r"(?: ?(?P<half>[ap])\.?m\.?)?",
    re.ASCII | re.IGNORECASE,
)
_QUARTER = re.compile(r"(\d{4})[ -]?Q([1-4])|Q([1-4])[ -]?(\d{4})", re.ASCII | re.IGNORECASE)
_EPOCH = datetime(1970, 1, 1)
_DAY = timedelta(days=1)

_PLAIN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_INFINITE = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)
_CURRENCY = r"(?:[A-Z]{0,2}\$|[€£¥₹₽₩₺฿¢]|USD|EUR|GBP|CHF|JPY|Fr\.|Rs\.?|kr\.?|zł|Kč)"
_ADORNED = re.compile(
    rf"(?P<sign>[+-]?) ?(?:{_CURRENCY} ?)?(?P<sign2>[+-]?) ?"
    r"(?P<digits>[\d.,](?:[\d.,'’ ]*[\d.,])?)(?P<exponent>[eE][+-]?\d+)?"
    rf" ?(?:{_CURRENCY}|%|‰)?",
    re.ASCII | re.IGNORECASE,
)
_UNIT = re.compile(rf"[+-]?(?:{_CURRENCY} ?)?[\d.,]*\d ?((?:[^\W\d_]|°)[^\d,;]*)")
# By quantity: units in lower case by their factor; an "s" may follow.
_UNITS: dict[str, dict[float, str]] = {
    "amount": {1e3: "k thousand", 1e5: "lac lakh", 1e6: "m mn million", 1e7: "cr crore"}
    | {1e9: "b bn billion", 1e12: "t tn trillion"},
    "bytes": {1: "b byte", 1e3: "kb", 1e6: "mb", 1e9: "gb", 1e12: "tb"},
    "duration": {1: "s sec second", 1e-3: "ms", 60: "m min minute", 3600: "h hr hour"}
    | {86400: "d day", 604800: "w wk week", 2629800: "mo mon month", 31557600: "yr year"},
    "length": {1: "m", 1e-3: "mm", 1e-2: "cm", 1e3: "km", 0.0254: '" in inch inches'}
    | {0.3048: "' ft foot feet", 0.9144: "yd yard", 1609.344: "mi mile"},
    "mass": {1: "kg", 1e-6: "mg", 1e-3: "g", 0.028349523125: "oz", 0.45359237: "lb"},
    "volume": {1: "l", 1e-2: "cl", 1e-3: "ml"},
}
QUANTITIES = {
    quantity: {name: factor for factor in units for name in units[factor].split()}
    for quantity, units in _UNITS.items()
}
_TERM = re.compile(r" ?([^\w\s'\"]{0,2} ?(?:\d[\d.,]*|[.,]\d+)) ?([^\W\d_]+\.?|['\"])?,?")
_MEASURE = re.compile(r"\d ?[^\W\d_]|[:'’′\"]")
_QUOTES = str.maketrans("’′”″“", '\'\'"""')
_INCHES = re.compile(r"(' ?\d+)$")
_LAPSE = re.compile(r"\b(\d+):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))?$", re.ASCII)
# More texts without a quantity than this are not tolerated in a column.
_EXCEPTIONS = 20
_RANGE = re.compile(r"(.*?\d[^\s\d]*?) ?(?:-|–|—|\bto\b) ?(\D*\d.*)")
_BOUND = re.compile(r"(?:[<>]=?|[≤≥~≈]) ?(.*)|(.*)\+")
_GROUPS = {
    " ": re.compile(r"\d{1,3}(?: \d{3})+"),
    "'": re.compile(r"\d{1,3}(?:['’]\d{3})+"),
    # Also lakh and crore: 12,34,567.
    ",": re.compile(r"(?:\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d{2})+,\d{3})"),
    ".": re.compile(r"\d{1,3}(?:\.\d{3})+"),
}


def parse_number(text: str, decimal: str = ".") -> float | None:
    """Parse a number as people write it: 1,234.5 or 1.234,5 or 1 234,5, -$5, (5), 12 %, 1e-3.

    Args:
        text: without spaces around it. A percent sign is ignored: 12 % is 12.
        decimal: the decimal sign in ambiguous texts, "." or ",".

    Returns:
        The number, which may be infinite; None if the text is not a number, such as NaN.
    """
    if decimal == "." and _PLAIN.fullmatch(text):
        return float(text)
    if _INFINITE.fullmatch(text):
        return float(text)
    text = _normalize(text)
    negative = text.startswith("(") and text.endswith(")")
    found = _ADORNED.fullmatch(text[1:-1].strip() if negative else text)
    if found is None or (found["sign"] and found["sign2"]):
        return None
    digits = _ungroup(found["digits"], decimal if not found["exponent"] else "")
    if digits is None:
        return None
    number = float(digits + (found["exponent"] or ""))
    return -number if negative or "-" in (found["sign"], found["sign2"]) else number


def number_text(number: float) -> str:
    """A number as text, without a fraction of zero: -999.0 is "-999"."""
    return f"{number:.15g}"


def fold_spelling(text: str) -> str:
    """Make a key that spellings of one category share: "Very good", "very  GOOD", and "very good".

    A final period is ignored. The case of up to two letters matters: they may be codes.
    """
    key = " ".join(text.split()).rstrip(" .") or text
    is_word = sum(map(str.isalpha, key)) > 2 or key.lower() in ("no", "on", "ja")
    return key.casefold() if is_word else key


def units_of(texts: Sequence[str]) -> list[str]:
    """The units, such as "kg", that at least nine in ten texts have after a number; else none."""
    matches = {text: _UNIT.fullmatch(text) for text in set(texts)}
    found = [match[1] for text in texts if (match := matches[text])]
    return sorted(set(found)) if 10 * len(found) >= 9 * len(texts) else []


def parse_quantity(text: str, quantity: str, decimal: str = ".") -> float | None:
    """Parse numbers with units: $1.2M, 565K, 2h 50m, PT2H50M, 1 day 2:03:04, 5'11".

    Args:
        text: without spaces around it. 3:45 is three minutes, 45 seconds.
        quantity: one of QUANTITIES; empty for numbers only.
        decimal: as for `parse_number`.

    Returns:
        The sum in the unit with factor 1, which a number without a unit has; None if it is none.
    """
    number = parse_number(text, decimal)
    if number is not None or not quantity:
        return number
    terms = _terms(text, quantity, decimal)
    if not terms:
        return None
    factors, sign = QUANTITIES[quantity], -1 if terms[0][0] < 0 else 1
    return sign * sum(abs(number) * factors[unit] for number, unit in terms)


def parse_range(text: str, quantity: str, decimal: str = ".") -> float | None:
    """Parse a range as its middle, and a bound as its number: 2100 - 2850, 3 to 5, <0.5, 65+.

    The arguments are those of `parse_quantity`; None if the text is neither.
    """
    text = _normalize(text)
    if bound := _BOUND.fullmatch(text):
        return parse_quantity(bound[1] or bound[2] or "", quantity, decimal)
    if (found := _RANGE.fullmatch(text)) is None:
        return None
    low, high = (parse_quantity(part, quantity, decimal) for part in found.groups())
    return None if low is None or high is None or high <= low else (low + high) / 2


def quantity_of(texts: Sequence[str]) -> str:
    """The quantity, one of QUANTITIES, of texts with several units; empty if they have none."""
    measures = [text for text in texts if _MEASURE.search(text)]
    for quantity in QUANTITIES if measures else ():
        exceptions, units = 0, set[str]()
        for text in measures:
            terms = _terms(text, quantity)
            units |= {unit for _, unit in terms}
            exceptions += not terms and parse_number(text) is None
            if exceptions > _EXCEPTIONS:
                break
        else:
            plain = units and any(parse_number(text) is not None for text in texts)
            # 12B may be a house number, and 5 m five meters.
            thousands = plain and any(re.search(r"\d ?[kKM]$", text) for text in measures)
            if len(units) > 1 and (quantity == "amount" or not plain):
                return quantity
            if quantity == "amount" and thousands:
                return quantity
    return ""


def _terms(text: str, quantity: str, decimal: str = ".") -> list[tuple[float, str]]:
    """Numbers and units, which get smaller; none if the text has another form."""
    text = _normalize(text)
    if quantity == "length":
        text = _INCHES.sub(r'\1"', text.translate(_QUOTES))
    if quantity == "duration":
        text = text.removeprefix("P").replace("T", " ")
        text = _LAPSE.sub(lambda m: f"{m[1]}h{m[2]}m{m[3]}s" if m[3] else f"{m[1]}m{m[2]}s", text)
    factors, last, place = QUANTITIES[quantity], math.inf, 0
    terms: list[tuple[float, str]] = []
    while place < len(text):
        found = _TERM.match(text, place)
        number = None if found is None else parse_number(found[1].strip(), decimal)
        if found is None or number is None:
            return []
        unit = (found[2] or "").lower().removesuffix(".")
        unit = unit if unit in factors else unit.removesuffix("s")
        factor = factors.get(unit, math.inf)
        if not factor < last or (terms and (number < 0 or quantity == "amount")):
            return []
        terms.append((number, unit))
        last, place = factor, found.end()
    return terms


def decimal_sign(texts: Iterable[str]) -> str | None:
    """The decimal sign of most numbers, "." or ","; None if undecided."""
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
    """Parse a date to days since 1970-01-01 with the time as a fraction, in UTC if it has a zone.

    Weekdays and commas are ignored.

    Args:
        text: without spaces around it.
        form: ISO, or a format of `strptime`; TIME for a time such as 9:30, 21:30:15 or 9:30 pm, as
            a fraction of the day; QUARTER for 2024Q3 or Q3 2024, as its first day; one of
            UNIX.
    """
    if form == TIME:
        return _parse_time(text)
    if form == QUARTER:
        found = _QUARTER.fullmatch(text)
        if found is None:
            return None
        month = 3 * int(found[2] or found[3]) - 2
        text, form = f"{found[1] or found[4]}-{month}", "%Y-%m"
    if form in UNIX:
        return float(text) * UNIX[form] / 86400 if _UNIX_DIGITS[form].fullmatch(text) else None
    for zone in (" UTC", " GMT"):
        text = text.removesuffix(zone)
    if form != ISO:
        text, form = _WEEKDAY.sub("", text.replace(",", "")), form.replace(",", "")
    try:
        if form == ISO:
            # A year or digits alone are a number.
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


def _parse_time(text: str) -> float | None:
    found = _CLOCK.fullmatch(text)
    if found is None:
        return None
    hour, half = int(found["hour"]), (found["half"] or "").lower()
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + 12 * (half == "p")
    if hour > 23:
        return None
    return (hour + int(found["minute"]) / 60 + float(found["second"] or 0) / 3600) / 24


def date_text(days: float, form: str = ISO) -> str:
    """Format days since 1970-01-01 to the minute; ISO 8601 omits the time at midnight."""
    moment = _EPOCH + timedelta(minutes=round(days * 1440))
    if form == TIME:
        return moment.strftime("%H:%M")
    if form == QUARTER:
        return f"{moment.year}Q{(moment.month + 2) // 3}"
    if form in UNIX:
        return number_text(round(days * 86400) / UNIX[form])
    if form != ISO:
        return moment.strftime(form)
    return moment.isoformat(timespec="minutes").removesuffix("T00:00")


def _normalize(text: str) -> str:
    """Replace spaces by single plain ones, and the minus sign by a hyphen."""
    return " ".join(text.replace("\u2212", "-").split())


def _separators(digits: str) -> tuple[str, str]:
    """The last separator in digits, "." or "," or none, and the other one."""
    last = max(".,", key=digits.rfind)
    return (last if last in digits else ""), ("," if last == "." else ".")


def _is_grouped(digits: str, separator: str) -> bool:
    """Whether a separator groups digits by thousands."""
    return bool(_GROUPS[separator].fullmatch(digits)) and not digits.startswith("0")


def _decimal_of(text: str) -> str | None:
    """The decimal sign of one text if it is unambiguous."""
    found = _ADORNED.fullmatch(_normalize(text))
    if found is None:
        return None
    digits = found["digits"]
    sign, other = _separators(digits)
    if not sign or other in digits:
        return sign or None
    if _is_grouped(digits, sign):
        return other if digits.count(sign) > 1 else None
    return sign if digits.count(sign) == 1 else None


def _ungroup(digits: str, decimal: str) -> str | None:
    """Digits as `float` takes them; None if their separators make no sense."""
    whole, fraction = digits, ""
    sign, other = _separators(digits)
    if sign and other not in digits:
        groups = decimal not in ("", sign) and _is_grouped(digits, sign)
        sign = "" if groups or digits.count(sign) > 1 else sign
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
