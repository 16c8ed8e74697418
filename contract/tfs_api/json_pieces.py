"""Parses large JSON documents in pieces, so that other threads run in between.

A parser holds the interpreter's lock: all of a document of 24 MiB would take a tenth of a second,
or half of one with the garbage collections that its lists cause. Commas and brackets are found with
NumPy, which releases the lock, and are parsed in pieces of some members of a list or object each.
"""

import gc
from collections.abc import Callable
from typing import Any

import numpy as np

# Bytes of a piece, which takes a few milliseconds.
_PIECE = 2**18
# Bytes that are searched at a time; most marks and bytes: beyond them the document is one piece.
_BLOCK, _MAX_MARKS = 2**20, 6_000_000
_MAX_BYTES = 2**31 - 1
# Levels of lists and objects that are divided.
_MAX_LEVELS = 16
_QUOTE, _COMMA, _BACKSLASH, _OPEN, _CLOSE = b'",\\{}'
# What distinguishes braces from brackets.
_BRACE = 0x20

# Parses a piece, which is a document itself; its second argument is the piece's offset.
Parse = Callable[[bytes, int], Any]


def parse_in_pieces(body: bytes, parse: Parse) -> tuple[Any, int]:
    """Parse a document in UTF-8, or another encoding that extends ASCII.

    Returns its value, and the offset of what follows the document.
    """
    document = _Document(body, parse) if len(body) > _PIECE else None
    end = document.end if document else 0
    if document is None or not end:
        return parse(body, 0), len(body)
    # Each collection would visit all lists that exist already.
    collects = gc.isenabled()
    gc.disable()
    try:
        return document.value(0, end, 1), int(document.places[end]) + 1
    finally:
        if collects:
            gc.enable()


class _Document:
    """A document and the marks outside its strings: commas, brackets and braces.

    Attributes:
        places: offset of each mark, ascending.
        end: the mark that ends the document; 0 if it cannot be divided.
    """

    def __init__(self, body: bytes, parse: Parse) -> None:
        self._body, self._parse = body, parse
        self.end = 0
        if len(body) > _MAX_BYTES:
            return
        text = np.frombuffer(body, np.uint8)
        found, count = [], 0
        for start in range(0, len(text), _BLOCK):
            block = text[start : start + _BLOCK]
            braces = block | _BRACE
            is_mark = (braces == _OPEN) | (braces == _CLOSE) | (block == _COMMA)
            is_mark |= (block == _QUOTE) | (block == _BACKSLASH)
            found.append((np.flatnonzero(is_mark) + start).astype(np.int32))
            count += len(found[-1])
            if count > _MAX_MARKS:
                return
        places = np.concatenate(found)
        marks = text[places]
        is_quote = marks == _QUOTE
        is_text = is_quote | (marks == _BACKSLASH)
        slashes = places[marks == _BACKSLASH]
        if len(slashes):
            # A quote is escaped after an odd number of backslashes.
            firsts = np.where(np.diff(slashes, prepend=-2) != 1, slashes, 0)
            firsts = np.maximum.accumulate(firsts)
            quotes = places[is_quote]
            last = np.searchsorted(slashes, quotes, "left") - 1
            is_escaped = (slashes[last] == quotes - 1) & ((quotes - firsts[last]) % 2 == 1)
            is_quote[is_quote] = ~is_escaped
        is_outside = ~(np.logical_xor.accumulate(is_quote) | is_text)
        self.places, self._marks = places[is_outside], marks[is_outside]
        braces = self._marks | _BRACE
        steps = (braces == _OPEN).astype(np.int8) - (braces == _CLOSE).astype(np.int8)
        self._depths = np.cumsum(steps, dtype=np.int32)
        ends = np.flatnonzero(self._depths == 0)
        if len(ends) and not body[: self.places[0]].strip(b" \t\r\n"):
            self.end = int(ends[0])

    def value(self, first: int, last: int, level: int) -> Any:
        """Parse the list or object between two marks, its brackets."""
        places, body = self.places, self._body
        start, end = int(places[first]), int(places[last])
        if end - start < _PIECE or level > _MAX_LEVELS:
            return self._parse(body[start : end + 1], start)
        opening, closing = body[start : start + 1], body[end : end + 1]
        if self._marks[last] != self._marks[first] + 2:  # in ASCII, a bracket is between the two
            return self._parse(closing, end)
        inside = slice(first + 1, last)
        is_cut = (self._marks[inside] == _COMMA) & (self._depths[inside] == self._depths[first])
        cuts = np.concatenate([[first], first + 1 + np.flatnonzero(is_cut), [last]])
        offsets = places[cuts]
        whole: Any = [] if opening == b"[" else {}
        add = whole.extend if opening == b"[" else whole.update
        begin = 0
        while begin < len(cuts) - 1:
            # As many members as fit, or one that is larger.
            until = int(np.searchsorted(offsets, offsets[begin] + _PIECE, "right")) - 1
            until = max(until, begin + 1)
            start, end = int(offsets[begin]) + 1, int(offsets[until])
            inner, inner_end = int(cuts[begin]) + 1, int(cuts[until]) - 1
            if end - start > _PIECE and inner < inner_end:
                before, after = body[start : places[inner]], body[places[inner_end] + 1 : end]
                member = self._parse(opening + before + b"null" + after + closing, start - 1)
                key = 0 if opening == b"[" else next(iter(member))
                member[key] = self.value(inner, inner_end, level + 1)
                add(member)
            else:
                piece = body[start:end]
                if len(cuts) > 2 and not piece.strip():
                    self._parse(b",", start - 1)
                add(self._parse(opening + piece + closing, start - 1))
            begin = until
        return whole
