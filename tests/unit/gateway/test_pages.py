"""What a browser needs to run models itself."""

import dataclasses
import gzip

import msgspec
import pytest

from rockstar_serving.gateway import pages
from tests.unit.gateway.conftest import FakeServer

CONTENT = b"\0asm" * 1000


@pytest.fixture
def litert(tmp_path, monkeypatch):
    folder = tmp_path / "litert"
    folder.mkdir()
    (folder / "version.txt").write_text("2.5.3\n")
    (folder / "litert.wasm.gz").write_bytes(gzip.compress(CONTENT))
    monkeypatch.setattr(pages, "LITERT", folder)
    return folder


@pytest.fixture
def with_models(tmp_path, config, create_gateway):
    """A client of a gateway that runs models itself: version 1 of `toy` has an edge.tflite."""
    for version in ("1", "2"):
        (tmp_path / "toy" / version).mkdir(parents=True)
    (tmp_path / "toy" / "1" / "edge.tflite").write_bytes(b"TFL3 of version 1")
    (tmp_path / "secret.txt").write_text("secret")
    file = tmp_path / "models.config"
    file.write_text(
        'model_config_list { config { name: "toy" model_platform: "tensorflow" '
        f'base_path: "{tmp_path / "toy"}" model_version_policy {{ all {{}} }} }} }}'
    )
    changed = dataclasses.replace(config, models_config=str(file))
    server = FakeServer()
    server.versions[2] = msgspec.structs.replace(server.versions[1], version=2)
    return create_gateway(changed, server).test_client()


def test_the_page_may_run_wasm_only_where_a_browser_can_run_models(http, with_models, litert):
    assert "wasm-unsafe-eval" not in http.get("/").headers["Content-Security-Policy"]
    policy = with_models.get("/").headers["Content-Security-Policy"]
    assert "script-src 'self' 'wasm-unsafe-eval';" in policy
    assert "default-src 'self';" in policy
    assert "wasm-unsafe-eval" not in with_models.get("/docs").headers["Content-Security-Policy"]


def test_without_litert_the_page_does_not_offer_it(with_models, tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "LITERT", tmp_path / "missing")
    response = with_models.get("/")
    assert response.status_code == 200
    assert "wasm-unsafe-eval" not in response.headers["Content-Security-Policy"]
    assert b"data-litert" not in response.data


def test_litert_is_compressed_and_cached_forever(with_models, litert):
    response = with_models.get("/litert/2.5.3/litert.wasm", headers={"Accept-Encoding": "br, gzip"})
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/wasm"
    assert response.headers["Content-Encoding"] == "gzip"
    assert "immutable" in response.headers["Cache-Control"]
    assert gzip.decompress(response.data) == CONTENT
    plain = with_models.get("/litert/2.5.3/litert.wasm")
    assert "Content-Encoding" not in plain.headers
    assert plain.data == CONTENT


@pytest.mark.parametrize(
    "path", ["2.4.0/litert.wasm", "2.5.3/version.txt", "2.5.3/other.js", "2.5.3/..%2fsecret.txt"]
)
def test_no_other_file_of_litert_is_served(with_models, litert, path):
    assert with_models.get(f"/litert/{path}").status_code == 404


def test_the_edge_file_of_a_version(with_models):
    with with_models.get("/edge/toy?version=1") as response:
        assert response.data == b"TFL3 of version 1"
        assert response.headers["Content-Type"] == "application/octet-stream"
        again = {"If-None-Match": response.headers["ETag"]}
    with with_models.get("/edge/toy?version=1", headers=again) as response:
        assert response.status_code == 304


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("toy", 404, "This gateway has no edge.tflite of toy version 2."),
        ("toy?version=9", 404, "model toy has no version 9; available: 2, 1"),
        ("other", 404, "there is no model other; available: toy"),
        ("toy?version=two", 400, "version: expected a whole number from 1, got 'two'"),
        ("toy?label=stable", 400, "label: expected version, got label"),
    ],
)
def test_edge_files_that_there_are_not(with_models, path, status, detail):
    response = with_models.get(f"/edge/{path}")
    assert response.status_code == status
    assert response.get_json()["detail"] == detail


def test_a_gateway_without_models_has_no_edge_files(http):
    response = http.get("/edge/toy")
    assert response.status_code == 404
    assert response.get_json()["detail"] == "This gateway has no edge.tflite of toy version 1."


def test_names_of_models_are_not_paths(with_models):
    assert with_models.get("/edge/..%2ftoy").status_code == 404
