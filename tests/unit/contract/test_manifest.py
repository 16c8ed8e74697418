import hashlib
import json

import pytest

from rockstar_contract.manifest import (
    ManifestError,
    MissingManifestError,
    check_manifest,
    write_manifest,
)


@pytest.fixture
def version(tmp_path):
    folder = tmp_path / "3"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "weights").write_bytes(b"\0" * 100)
    write_manifest(folder)
    return folder


def test_a_manifest_names_size_and_hash_of_every_other_file(version):
    document = json.loads((version / "manifest.json").read_text())
    graph = hashlib.sha256(b"graph").hexdigest()
    assert document["schema_version"] == 1
    assert document["files"].keys() == {"saved_model.pb", "variables/weights"}
    assert document["files"]["saved_model.pb"] == {"bytes": 5, "sha256": graph}
    assert check_manifest(version).files.keys() == document["files"].keys()


def change(version):
    (version / "saved_model.pb").write_bytes(b"grapf")


def shorten(version):
    (version / "variables" / "weights").write_bytes(b"\0" * 99)


def remove(version):
    (version / "variables" / "weights").unlink()


def add(version):
    (version / "variables" / "more").touch()


@pytest.mark.parametrize(
    ("damage", "difference"),
    [
        (change, "saved_model.pb has another content"),
        (shorten, "variables/weights has 99 bytes, not 100"),
        (remove, "variables/weights is missing"),
        (add, "variables/more was added"),
    ],
)
def test_every_difference_is_named(version, damage, difference):
    damage(version)
    with pytest.raises(ManifestError, match=f"3 is not what was published: {difference}$"):
        check_manifest(version)


def reads_the_graph(path):
    return path == "saved_model.pb"


def change_weights(version):
    (version / "variables" / "weights").write_bytes(b"\1" * 100)


@pytest.mark.parametrize("damage", [change, shorten, remove])
def test_differences_in_files_that_are_read(version, damage):
    check_manifest(version, reads_the_graph)
    damage(version)
    with pytest.raises(ManifestError, match="3 is not what was published"):
        check_manifest(version, reads_the_graph)


@pytest.mark.parametrize("damage", [add, change_weights])
def test_differences_in_other_files_are_ignored(version, damage):
    damage(version)
    check_manifest(version, reads_the_graph)
    with pytest.raises(ManifestError):
        check_manifest(version)


def test_many_differences_are_counted(version):
    for name in "abcde":
        (version / name).touch()
    with pytest.raises(ManifestError, match="a was added; b was added; c was added; and 2 more"):
        check_manifest(version)


def test_a_version_without_a_manifest(version):
    (version / "manifest.json").unlink()
    with pytest.raises(MissingManifestError, match=r"3 has no manifest\.json"):
        check_manifest(version)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is damaged"),
        (b"\xff", "is damaged"),
        (b'{"files": {}}x', "is damaged"),
        (b'{"files": {"a": {"bytes": -1, "sha256": ""}}}', "is damaged"),
        (b'{"schema_version": 2, "files": {}}', "has schema version 2"),
    ],
)
def test_invalid_manifests_are_rejected(version, content, message):
    (version / "manifest.json").write_bytes(content)
    with pytest.raises(ManifestError, match=rf"manifest\.json {message}"):
        check_manifest(version)
