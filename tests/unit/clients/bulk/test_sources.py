"""Items from folders, files, tables and archives, including broken ones."""

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rockstar_client.bulk.items import Item
from rockstar_client.bulk.sources import Paths
from rockstar_contract.csv_rows import read_rows
from rockstar_contract.errors import InvalidInputError


def items(*paths: Path | str, **options) -> list[Item]:
    return list(Paths([str(path) for path in paths], **options))


def names(found: list[Item], below: Path) -> list[str]:
    return [item.name.removeprefix(f"{below}/") for item in found]


def content(item: Item):
    """The content, or the reason why it cannot be read."""
    try:
        return item.read()
    except InvalidInputError as error:
        return f"{error.expected} | {error.got}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "b/2.png",
        "b/10.PNG",
        "a.jpg",
        "c.txt",
        ".hidden.png",
        "b/.git/x.png",
        "c/d/e.webp",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


def test_folders_are_walked_in_the_same_order_each_time(folder):
    source = Paths([str(folder)])
    found = list(source)
    assert names(found, folder) == ["a.jpg", "b/10.PNG", "b/2.png", "c/d/e.webp"]
    assert [item.read() for item in found][:1] == [b"a.jpg"]
    assert source.passed_over == 2  # c.txt and .hidden.png
    assert names(list(source), folder) == names(found, folder)
    assert source.count() == 4


def test_a_named_file_is_an_item_with_any_suffix(folder):
    assert [content(item) for item in items(folder / "c.txt")] == [b"c.txt"]


def test_a_hidden_folder_is_read_only_if_named(folder):
    assert [content(item) for item in items(folder / "b" / ".git")] == [b"b/.git/x.png"]


def test_links_are_followed_but_not_in_circles(folder):
    (folder / "b" / "up").symlink_to(folder)
    (folder / "twice").symlink_to(folder / "c")
    (folder / "self.png").symlink_to("self.png")
    (folder / "gone.png").symlink_to("nowhere.png")
    found = {item.name.removeprefix(f"{folder}/"): item for item in items(folder)}
    assert set(found) == {
        *("a.jpg", "b/10.PNG", "b/2.png", "c/d/e.webp", "twice/d/e.webp"),
        *("self.png", "gone.png"),
    }
    assert "Too many levels" in content(found["self.png"])
    assert "No such file" in content(found["gone.png"])


def test_a_pipe_fails_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert [content(item) for item in items(tmp_path)] == ["a file | something else"]


def test_a_file_deleted_before_it_is_read_fails(folder):
    (found,) = items(folder / "a.jpg")
    (folder / "a.jpg").unlink()
    assert content(found) == "a readable file | No such file or directory"


def test_files_that_are_too_large_are_not_read(tmp_path):
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(2**40)
    assert content(*items(tmp_path)) == "at most 25,165,824 bytes | 1,099,511,627,776"


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def tarred(path: Path, members: dict[str, bytes], mode="w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


MEMBERS = {
    "b/1.png": b"one",
    "../../etc/2.png": b"two",
    "/abs.png": b"three",
    "__MACOSX/._1.png": b"junk",
    "b/.cache/1.png": b"junk",
    "read.me": b"text",
    "a.png": b"four",
}


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("x.zip", zipped),
        ("x.tar.gz", tarred),
        ("x.tgz", tarred),
        ("x.tar", lambda path, members: tarred(path, members, "w")),
        ("x.tar.xz", lambda path, members: tarred(path, members, "w:xz")),
    ],
)
def test_archives_are_read_in_place(tmp_path, name, make):
    archive = make(tmp_path / name, MEMBERS)
    found = items(archive)
    assert [item.name for item in found] == [
        f"{archive}:{member}" for member in ("b/1.png", "../../etc/2.png", "/abs.png", "a.png")
    ]
    assert [item.read() for item in found] == [b"one", b"two", b"three", b"four"]
    assert os.listdir(tmp_path) == [name]
    # Archives in a folder, too.
    assert [item.name for item in items(tmp_path)] == [item.name for item in found]


def test_only_files_of_archives_are_items(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for kind, name in (
            (tarfile.DIRTYPE, "d.png"),
            (tarfile.SYMTYPE, "l.png"),
            (tarfile.LNKTYPE, "h.png"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    assert items(tmp_path / "x.tar") == []


def test_bombs_are_not_unpacked(tmp_path):
    zeros = bytes(25 * 2**20)
    archives = [
        zipped(tmp_path / "x.zip", {"a.png": zeros}),
        tarred(tmp_path / "x.tgz", {"a.png": zeros}),
    ]
    for archive in archives:
        (found,) = items(archive)
        assert content(found) == "at most 25,165,824 bytes | 26,214,400"


def test_a_member_with_a_wrong_size_fails(tmp_path):
    path = zipped(tmp_path / "x.zip", {"a.png": bytes(2**20)})
    data = path.read_bytes()
    path.write_bytes(data.replace((2**20).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    (found,) = items(path)
    assert "Bad CRC-32" in content(found)


def test_encrypted_members_fail_alone(tmp_path):
    path = zipped(tmp_path / "x.zip", {"a.png": b"secret", "b.png": b"open"})
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags] |= 1
    path.write_bytes(data)
    assert [content(item) for item in items(path)] == [
        "a member without a password | an encrypted one",
        b"open",
    ]


def test_a_damaged_member_fails_alone(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", b"damaged")
        archive.writestr("b.png", b"whole")
    path.write_bytes(path.read_bytes().replace(b"damaged", b"DAMAGED", 1))
    first, second = items(path)
    assert "Bad CRC-32" in content(first)
    assert content(second) == b"whole"


def test_a_truncated_archive_yields_its_whole_members_and_an_error(tmp_path):
    whole = tarred(
        tmp_path / "x.tar", {f"{n}.png": os.urandom(3000) for n in range(20)}, "w"
    ).read_bytes()
    for name, data in (("x.tgz", gzip.compress(whole)), ("x.tar", whole)):
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        *good, last = items(tmp_path / name)
        assert len(good) > 3
        assert all(len(item.read()) == 3000 for item in good)
        assert last.name == str(tmp_path / name)
        assert "a complete archive" in content(last)


@given(packed=st.booleans(), cut=st.integers(0, 2**16))
@example(packed=False, cut=1536)  # between two members
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_truncation_is_noticed(tmp_path, packed, cut):
    members = {f"{n}.png": bytes([n]) * 700 for n in range(6)}
    path = tarred(tmp_path / "x.tar", members, "w:gz" if packed else "w")
    whole = path.read_bytes()
    # After the last member, a tar file has only zeros.
    path.write_bytes(whole[: cut % (len(whole) if packed else 6 * 3 * 512)])
    found = items(path)
    good = [item for item in found if isinstance(content(item), bytes)]
    assert [item.read() for item in good] == [*members.values()][: len(good)]
    assert len(good) == 6 or len(found) == len(good) + 1


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_an_invalid_archive_is_one_failed_item(tmp_path, name):
    (tmp_path / name).write_bytes(b"no archive, whatever it is called")
    (found,) = items(tmp_path / name)
    assert "a complete archive" in content(found)


def test_rows_of_tables_and_invalid_rows(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b'\xef\xbb\xbfn; m \n1;2\n\n3\n"4;";x\n\xff;5\n6;"7\n')
    found = items(path)
    assert [item.name for item in found] == [f"{path}:{row}" for row in range(1, 6)]
    assert [content(item) for item in found] == [
        {"n": "1", "m": "2"},
        "2 values, as in the header | 1 in line 4",
        {"n": "4;", "m": "x"},
        "UTF-8 | other bytes",
        "a CSV file | line 7: unexpected end of data",
    ]
    assert {item.columns for item in found if isinstance(content(item), dict)} == {("n", "m")}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no rows"),
        (b"\x89PNG\r\n\x1a\n", "an image"),
        (b"PK\x03\x04", "a ZIP archive"),
    ],
)
def test_an_invalid_table_is_one_failed_item(tmp_path, data, message):
    (tmp_path / "t.csv").write_bytes(data)
    (found,) = items(tmp_path / "t.csv")
    assert message in content(found)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_rows_are_read_as_the_gateway_reads_them(tmp_path, encoding):
    text = "sep=;\nGröße, cm;a;a;\n1,5;2;3;\n\nGröße, cm;a;a;\n2,5;;4;\n;;;\n".encode(encoding)
    for name, data in (("t.csv", text), ("u.csv.gz", gzip.compress(text))):
        (tmp_path / name).write_bytes(data)
        rows = [item.read() for item in items(tmp_path / name)]
        assert rows == read_rows(data, "file")
        assert [row.decimal for row in rows] == [",", ","]
        assert rows[1] == {"Größe, cm": "2,5", "a": "", "a.1": "4"}


PIECES = [
    "a",
    "1",
    "2,5",
    ",",
    ";",
    "\n",
    "\r\n",
    '"',
    "#",
    "\t",
    "x,y\n",
    "# c\n",
    "T\n",
    "é",
    "\ufeff",
]


@given(st.lists(st.sampled_from(PIECES), max_size=16).map("".join))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_table_is_read_as_the_gateway_reads_it(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8", newline="")
    found = [content(item) for item in items(path)]
    try:
        assert found == read_rows(path.read_bytes(), "file")
    except InvalidInputError:
        assert not found or not all(isinstance(row, dict) for row in found)


def test_the_first_letters_that_are_not_ascii_decide_about_the_encoding(tmp_path):
    rows = "a,b\n" + f"1,{'x' * 500}\n" * 1200
    for encoding in ("cp1252", "utf-8"):
        (tmp_path / "t.csv").write_bytes((rows + "2,größe\n").encode(encoding))
        assert items(tmp_path / "t.csv")[-1].read() == {"a": "2", "b": "größe"}


def test_large_files_with_lines_that_end_with_cr(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("größe,a\r".encode("cp1252") + b"1,2\r" * 70_000)
    found = items(path)
    assert found[-1].read() == {"größe": "1", "a": "2"}
    assert len(found) == Paths([str(path)], tables=True).count() == 70_000


def test_folders_give_tables_to_models_of_tables(folder):
    (folder / "t.csv").write_text("a\n1\n")
    (folder / "out.csv").write_text("a\n2\n")
    found = items(folder, tables=True, leave_out=[folder / "out.csv"])
    assert names(found, folder) == ["t.csv:1"]


def test_rows_are_not_read_before_they_are_needed(tmp_path):
    path = tmp_path / "endless.csv"
    os.mkfifo(path)
    # A pipe cannot be a table: it is not seekable.
    writer = os.open(path, os.O_RDWR)
    os.write(writer, b"a\n1\n2\n")
    try:
        (found,) = items(path)
        assert "a readable file" in content(found)
    finally:
        os.close(writer)
