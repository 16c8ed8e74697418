"""`rockstar export`: what it writes and why it does not. tests/browser opens the page."""

import gzip
import json
import re

import msgspec
import pytest

from rockstar_contract.contract import CONTRACT_FILE
from rockstar_serving.gateway import pages
from tests.command_line import invoke
from tests.contracts import make_contract
from tests.table_models import table_classifier


@pytest.fixture
def litert(tmp_path, monkeypatch):
    folder = tmp_path / "litert"
    folder.mkdir()
    (folder / "version.txt").write_text("2.5.3\n")
    (folder / "LICENSE.txt").write_text("Apache License <text>")
    for name in ("litert.js", "litert_wasm_compat_internal.js", "litert_wasm_compat_internal.wasm"):
        (folder / f"{name}.gz").write_bytes(gzip.compress(b""))
    monkeypatch.setattr("rockstar_serving.standalone_page.LITERT", folder)
    monkeypatch.setattr(pages, "LITERT", folder)
    return folder


@pytest.fixture
def models(tmp_path):
    """Version 1 of cnn, held version 2, and a model of a table."""
    folder = tmp_path / "models"
    for name, contract in (
        ("cnn/1", make_contract()),
        ("cnn/held-2", msgspec.structs.replace(make_contract(), version=2)),
        ("table/1", table_classifier()),
    ):
        (folder / name / CONTRACT_FILE).parent.mkdir(parents=True)
        (folder / name / CONTRACT_FILE).write_text(contract.to_json())
        (folder / name / "saved_model.pb").touch()
        (folder / name / "edge.tflite").write_bytes(b"TFL3")
    return folder


@pytest.fixture
def export(models, tmp_path, litert):
    def run(*arguments: str, file: str = "page.html", status: int = 0) -> str:
        html = str(tmp_path / file)
        result = invoke("export", *arguments, "--html", html, "--models", models)
        assert result.exit_code == status, result.output
        return result.output

    return run


def test_the_newest_served_version_is_written(export, tmp_path):
    document = json.loads(export("cnn", "--json"))
    page = tmp_path / "page.html"
    assert document == {
        "model": "cnn",
        "version": 1,
        "file": str(page),
        "bytes": page.stat().st_size,
    }
    text = page.read_text()
    assert "Apache License &lt;text&gt;" in text
    # Everything is in the file, and nothing else may be loaded.
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert "default-src 'none'" in text


def test_a_held_version_is_written_on_request(export):
    assert "cnn version 2" in export("cnn", "--version", "2")


def test_what_cannot_be_written(export, models, litert):
    assert "cnn has no version 7; it has the versions 1, and holds 2" in export(
        "cnn", "--version", "7", status=1
    )
    (models / "cnn/held-2" / CONTRACT_FILE).write_text('{"model": "cnn"')
    damaged = export("cnn", "--version", "2", status=1)
    assert "cnn/held-2: no contract can be read: " in damaged
    assert "Traceback" not in damaged
    assert "holds no model nose; it holds cnn, table" in export("nose", status=1)
    assert "does not classify images, which the page is for" in export("table", status=1)
    assert "no such file or folder" in export("cnn", file="none/page.html", status=1)
    (models / "cnn" / "1" / "edge.tflite").unlink()
    assert "version 1 has no edge.tflite: LiteRT cannot run it" in export("cnn", status=1)
    (litert / "version.txt").unlink()
    assert "LiteRT for browsers is not installed: run `make litert-web`" in export("cnn", status=1)
