"""JSON parsed in pieces: the same values and errors as of the whole document."""

import json
import random
from typing import Any

import orjson
import pytest

from tfs_api import json_pieces
from tfs_api.json_pieces import parse_in_pieces

TEXTS = ("", "a,b", "]}", "\\", '\\"', '"', "é[", "{" * 9)
DAMAGE = b'[]{},":\\ 1n'


def outcome(document: bytes, *, in_pieces: bool) -> Any:
    try:
        if not in_pieces:
            return orjson.loads(document)
        value, end = parse_in_pieces(document, lambda piece, _: orjson.loads(piece))
        return "invalid" if document[end:].strip() else value
    except orjson.JSONDecodeError:
        return "invalid"


@pytest.mark.parametrize("piece", [4, 16, 40])
def test_documents_and_damaged_ones(monkeypatch, piece):
    monkeypatch.setattr(json_pieces, "_PIECE", piece)
    monkeypatch.setattr(json_pieces, "_BLOCK", 64)
    pick = random.Random(piece)

    def value(depth: int) -> Any:
        if depth == 5 or pick.random() < 0.3:
            return pick.choice([1, -2.5, True, None, *TEXTS])
        members = [value(depth + 1) for _ in range(pick.randrange(6))]
        if pick.random() < 0.6:
            return members
        return {pick.choice(TEXTS): member for member in members}

    for _ in range(1500):
        document = bytearray(json.dumps(value(0), indent=pick.choice([None, 1])).encode())
        for _ in range(pick.randrange(3)):
            at = pick.randrange(len(document) + 1)
            document[at : at + pick.randrange(2)] = pick.choice([b"", bytes([pick.choice(DAMAGE)])])
        whole = bytes(document)
        assert outcome(whole, in_pieces=True) == outcome(whole, in_pieces=False), whole


def test_no_piece_of_a_large_document_is_large():
    values = [float(number) for number in range(300_000)]
    document = json.dumps({"a": 1, "instances": [[values], "x" * 100], "b": 2}).encode()
    sizes = []

    def parse(piece: bytes, _start: int) -> Any:
        sizes.append(len(piece))
        return orjson.loads(piece)

    found, end = parse_in_pieces(document + b" rest", parse)
    assert (found, end) == (orjson.loads(document), len(document))
    assert max(sizes) < 2**18 + 100
