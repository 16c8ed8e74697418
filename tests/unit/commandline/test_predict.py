"""`rockstar predict`: lists of paths, and safe output; tests/integration/gateway has whole runs."""

import io
import json
import os

import pytest

from rockstar_cli.predict import NamedPaths
from rockstar_client.bulk import BulkError
from tests.command_line import invoke
from tests.images import png, stroke
from tests.unit.clients.http_server import Server, answer, running
from tests.unit.commandline.test_service_options import MODELS, predictions


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
def test_lists_as_printed_by_find(tmp_path, monkeypatch, listed, paths):
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


def test_a_list_saved_on_windows(tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("one.png\r\ntwo.png\r\n", "utf-8-sig")
    assert list(NamedPaths((), str(names))) == ["one.png", "two.png"]
    names.write_text("one.png\r\n", "utf-16")
    with pytest.raises(BulkError, match="expected UTF-8, got UTF-16"):
        list(NamedPaths((), str(names)))


def test_control_characters_in_names_and_labels_are_escaped(tmp_path):
    wild = tmp_path / "a\x1b[2J\nb.png"
    wild.write_bytes(png(stroke()))
    empty = tmp_path / "c\x1b.png"
    empty.write_bytes(b"")
    with running(Server([MODELS, predictions("\x1b[1mse\tt", "x")])) as server:
        result = invoke("predict", "--model", "toy", "--url", server.url, wild, empty)
        failed = invoke("predict", "--model", "toy", "--url", server.url, f"{wild}.absent")
    assert rf"{tmp_path}/a\x1b[2J\nb.png" in result.stdout
    assert r"\x1b[1mse\tt" in result.stdout
    assert r"a\x1b[2J b.png.absent" in failed.stderr
    for each in (result, failed):
        assert "\x1b" not in each.output


def test_numbers_are_printed_in_full_and_aligned(tmp_path):
    texts = ["252842.2", "1055270", "-0.0001234568", "12", "1e-05", "2.5e+15", "0"]
    values = [252842.17, 1055270.0, -0.00012345678, 12.0, 1e-5, 2.5e15, 0.0]
    body = {"task": "regression", "version": 2, "predictions": [{"value": each} for each in values]}
    response = answer("200 OK", json.dumps(body).encode(), Content_Type="application/json")
    file = tmp_path / "houses.csv"
    file.write_text("rooms\n" + "1\n" * len(values))
    with running(Server([MODELS, response])) as server:
        result = invoke("predict", "--model", "toy", "--url", server.url, file)
    assert [line.split()[-1] for line in result.stdout.splitlines()] == texts
    assert len({*map(len, result.stdout.splitlines())}) == 1
