"""Versions are compared with their manifests before they are loaded."""

from pathlib import Path

import pytest

from rockstar_contract.manifest import MANIFEST_FILE, write_manifest
from rockstar_serving.model_server.engines.engine import LoadError
from rockstar_serving.model_server.loading import verify
from tests.fake_engine import add_version


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = add_version(tmp_path, 3)
    (folder / "model.tflite").write_bytes(b"model")
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"requests")
    write_manifest(folder)
    return folder


def load(folder: Path) -> None:
    verify(folder, ["model.tflite"])


def test_unchanged_versions_pass(folder: Path) -> None:
    load(folder)


def test_without_a_manifest_it_passes_as_it_is(folder: Path) -> None:
    (folder / MANIFEST_FILE).unlink()
    load(folder)


@pytest.mark.parametrize(
    ("path", "content", "difference"),
    [
        ("model.tflite", b"mOdel", "model.tflite has another content"),
        ("model.tflite", b"mod", "model.tflite has 3 bytes, not 5"),
        ("model.tflite", None, "model.tflite is missing"),
        ("saved_model.pb", b"", "saved_model.pb has 0 bytes, not 5"),
        (
            "assets.extra/tf_serving_warmup_requests",
            b"REQUESTS",
            "assets.extra/tf_serving_warmup_requests has another content",
        ),
        ("assets.extra/more", b"", "assets.extra/more was added"),
        (MANIFEST_FILE, b"{", "manifest.json is damaged"),
    ],
)
def test_a_difference_refuses_the_version(folder, path, content, difference):
    if content is None:
        (folder / path).unlink()
    else:
        (folder / path).write_bytes(content)
    with pytest.raises(LoadError) as caught:
        load(folder)
    assert difference in str(caught.value)
    assert "copy it again from where it was published" in str(caught.value)


def test_unread_files_are_not_hashed(folder: Path) -> None:
    (folder / "saved_model.pb").write_bytes(b"grapf")
    (folder / ".DS_Store").touch()
    load(folder)


def test_files_of_another_engine_are_hashed_for_that_one(folder: Path) -> None:
    (folder / "saved_model.pb").write_bytes(b"grapf")
    with pytest.raises(LoadError, match=r"saved_model\.pb has another content"):
        verify(folder, ["saved_model.", "variables/"])
