"""Versions are compared with their manifests, or tried in a child process, before they are loaded."""

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rockstar_contract.manifest import MANIFEST_FILE, Manifest, write_manifest
from rockstar_serving.model_server.engines import litert, tensorflow
from rockstar_serving.model_server.engines.engine import LoadError, Runtime, ServableId
from rockstar_serving.model_server.loading import VersionLoader, load_verified
from rockstar_serving.model_server.options import EngineOptions, ServerOptions
from rockstar_serving.model_server.trial import Trials
from tests.fake_engine import FakeEngine, add_version
from tests.litert_models import without_a_constant
from tests.model_fixtures import toy_model, write_version


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = add_version(tmp_path, 3)
    (folder / "model.tflite").write_bytes(b"1234TFL3")
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"requests")
    write_manifest(folder)
    return folder


def fake(runtime: Runtime = litert.RUNTIME, before: Callable[[], Any] = list) -> Runtime:
    """A runtime that reads the file that it would load, after something else has happened."""

    def load(folder: Path, _options: EngineOptions, manifest: Manifest) -> FakeEngine:
        before()
        if runtime is litert.RUNTIME:
            litert.ModelFile(folder / "model.tflite", manifest)
        return FakeEngine()

    return replace(runtime, load=load)


def load(folder: Path, runtime: Runtime = fake()) -> None:  # noqa: B008 (frozen)
    load_verified(folder, runtime, EngineOptions())


def test_unchanged_versions_pass(folder: Path) -> None:
    load(folder)


@pytest.mark.parametrize(
    ("path", "content", "difference"),
    [
        ("model.tflite", b"1235TFL3", "model.tflite has another content"),
        ("model.tflite", b"123", "model.tflite has 3 bytes, not 8"),
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
        load(folder, fake(tensorflow.RUNTIME))


def test_a_change_during_loading_refuses_the_version(folder: Path) -> None:
    def overwrite(content: bytes) -> Callable[[], object]:
        return lambda: (folder / "model.tflite").write_bytes(content)

    for runtime in (litert.RUNTIME, tensorflow.RUNTIME):
        with pytest.raises(LoadError, match="changed while it was being loaded"):
            load(folder, fake(runtime, overwrite(b"1235TFL3")))
        overwrite(b"1234TFL3")()


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


def huge(path: Path) -> None:
    """Without content: no disk has so much space."""
    with path.open("ab") as file:
        file.truncate(2**40)


@pytest.mark.parametrize("damage", [pipe, endless, huge])
@pytest.mark.parametrize(
    "name", [MANIFEST_FILE, "model.tflite", "assets.extra/tf_serving_warmup_requests"]
)
def test_files_without_an_end_refuse_the_version_at_once(folder, name, damage):
    damage(folder / name)
    with pytest.raises(LoadError, match=Path(name).name):
        load(folder)


@pytest.mark.parametrize("damage", [pipe, endless])
def test_warmup_files_without_an_end_refuse_a_version_without_a_manifest(tmp_path, damage):
    folder = write_version(tmp_path, 3)
    (folder / "assets.extra").mkdir()
    damage(folder / "assets.extra" / "tf_serving_warmup_requests")
    options = ServerOptions((), engine=EngineOptions(prefer_tflite=True))
    with pytest.raises(LoadError, match="it is not a regular file"):
        VersionLoader(options)(ServableId("m", 3), folder)


def test_a_version_without_a_manifest_that_ends_its_process_does_not_end_this_one(tmp_path):
    """It loads, and crashes at the first request."""
    folder = write_version(tmp_path, 3, without_a_constant(toy_model(3)))
    with pytest.raises(LoadError, match=r"3 ended the process in which LiteRT tried it \(SIG"):
        load_verified(folder, litert.RUNTIME, EngineOptions())
    (folder / "model.tflite").write_bytes(toy_model(3))
    engine = load_verified(folder, litert.RUNTIME, EngineOptions())
    assert engine.signatures.keys() == {"contract", "serving_default"}
    engine.close()


def test_files_larger_than_memory_refuse_a_version_without_a_manifest(tmp_path):
    folder = write_version(tmp_path, 3, toy_model())
    huge(folder / "model.tflite")
    with pytest.raises(LoadError, match=r"model\.tflite does not fit into memory"):
        load(folder)


def test_errors_of_versions_without_a_manifest_are_those_of_loading(tmp_path):
    folder = write_version(tmp_path, 3, toy_model(3)[:1000])
    with pytest.raises(
        LoadError, match=r"model\.tflite is damaged or holds what LiteRT cannot run"
    ):
        load_verified(folder, litert.RUNTIME, EngineOptions())


def test_versions_that_wait_for_their_trial_share_a_process(tmp_path, monkeypatch):
    """One that ends it does not affect the others."""
    folders = [write_version(tmp_path / str(n), 3, toy_model(n + 2)) for n in range(3)]
    broken = write_version(tmp_path / "broken", 3, without_a_constant(toy_model(3)))
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(1) or popen(*a, **k))
    trials, options = Trials(), EngineOptions()
    load = partial(load_verified, runtime=litert.RUNTIME, options=options, trials=trials)
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(load, folder) for folder in [broken, *folders]]
    with pytest.raises(LoadError, match="ended the process"):
        jobs[0].result()
    for job in jobs[1:]:
        job.result().close()
    assert len(started) <= 3
