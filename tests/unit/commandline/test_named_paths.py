"""The paths that `rockstar predict` is told of in a list."""

import io
import os

import pytest

from rockstar_cli.prediction_run import NamedPaths
from rockstar_client.bulk.state import BulkError


@pytest.mark.parametrize(
    ("listed", "paths"),
    [
        (b"a.png\nb.png\n", [b"a.png", b"b.png"]),
        (b"a.png\n\nb.png", [b"a.png", b"b.png"]),
        (b"a.png\r\nb.png\r\n", [b"a.png", b"b.png"]),
        (b"a\nb.png\0c\r\0", [b"a\nb.png", b"c\r"]),
        (b"\xff.png\n", [b"\xff.png"]),
        (b"x" * 4000 + b"\0" + b"y\n\0" * 50_000, [b"x" * 4000] + [b"y\n"] * 50_000),
        (b"", []),
    ],
)
def test_lists_are_read_as_find_and_others_write_them(tmp_path, monkeypatch, listed, paths):
    (tmp_path / "list").write_bytes(listed)
    found = NamedPaths((), str(tmp_path / "list"))
    assert [os.fsencode(path) for path in found] == paths
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(listed)))
    assert [os.fsencode(path) for path in NamedPaths((), "-")] == paths


def test_arguments_come_first(tmp_path):
    (tmp_path / "list").write_text("b.png\n")
    (tmp_path / "a.png").touch()
    first = str(tmp_path / "a.png")
    assert list(NamedPaths((first,), str(tmp_path / "list"))) == [first, "b.png"]


def test_a_list_that_was_saved_on_windows(tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("one.png\r\ntwo.png\r\n", "utf-8-sig")
    assert list(NamedPaths((), str(names))) == ["one.png", "two.png"]
    names.write_text("one.png\r\n", "utf-16")
    with pytest.raises(BulkError, match="expected UTF-8, got UTF-16"):
        list(NamedPaths((), str(names)))
