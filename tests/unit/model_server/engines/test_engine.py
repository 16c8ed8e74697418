"""Selection of the engine for a version folder."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rockstar_serving.model_server import engines
from rockstar_serving.model_server.engines.engine import (
    LoadError,
    Runtime,
    choose_runtime,
    find_runtimes,
    in_words,
)
from rockstar_serving.model_server.options import EngineOptions

PREFER_TFLITE = EngineOptions(prefer_tflite=True)


BOTH = ["LiteRT", "TensorFlow"]


def runtimes(installed: Sequence[str] = BOTH) -> list[Runtime]:
    """The real runtimes, except for whether they are installed."""
    return [
        replace(each, package="json" if each.name in installed else "no_such_package")
        for each in find_runtimes()
    ]


def folder(path: Path, *files: str) -> Path:
    for name in files:
        (path / name).touch()
    return path


def test_the_runtimes() -> None:
    assert sorted(runtime.name for runtime in find_runtimes()) == BOTH


@pytest.mark.parametrize(
    ("options", "installed", "files", "engine"),
    [
        (EngineOptions(), BOTH, ["saved_model.pb", "model.tflite"], "TensorFlow"),
        (EngineOptions(), BOTH, ["saved_model.pb"], "TensorFlow"),
        (EngineOptions(), BOTH, ["saved_model.pbtxt"], "TensorFlow"),
        (EngineOptions(), BOTH, ["model.tflite"], "LiteRT"),
        (EngineOptions(), ["LiteRT"], ["saved_model.pb", "model.tflite"], "LiteRT"),
        (EngineOptions(), ["TensorFlow"], ["saved_model.pb", "model.tflite"], "TensorFlow"),
        (PREFER_TFLITE, BOTH, ["saved_model.pb", "model.tflite"], "LiteRT"),
        (PREFER_TFLITE, BOTH, ["saved_model.pb"], "TensorFlow"),
        (PREFER_TFLITE, ["TensorFlow"], ["saved_model.pb", "model.tflite"], "TensorFlow"),
    ],
)
def test_choice(tmp_path, options, installed, files, engine):
    chosen = choose_runtime(folder(tmp_path, *files), options, runtimes(installed=installed))
    assert chosen.name == engine


NO_TFLITE = (
    "no model.tflite for LiteRT (export the model with its LiteRT file, as rockstar train does)"
)
NO_SAVED_MODEL = (
    "no saved_model.pb or saved_model.pbtxt for TensorFlow (export it with tf.saved_model.save)"
)
TENSORFLOW, LITERT = "pip install 'rockstartf[train]'", "pip install 'rockstartf[serve]'"


@pytest.mark.parametrize(
    ("installed", "files", "reasons"),
    [
        (BOTH, [], [NO_SAVED_MODEL, NO_TFLITE]),
        (
            ["LiteRT"],
            ["saved_model.pb"],
            [f"saved_model.pb is there, but TensorFlow is not installed ({TENSORFLOW})", NO_TFLITE],
        ),
        (
            ["LiteRT"],
            [],
            [f"{NO_SAVED_MODEL}, which is not installed either ({TENSORFLOW})", NO_TFLITE],
        ),
        (
            ["TensorFlow"],
            ["model.tflite"],
            [NO_SAVED_MODEL, f"model.tflite is there, but LiteRT is not installed ({LITERT})"],
        ),
    ],
)
def test_nothing_that_can_be_loaded(tmp_path, installed, files, reasons):
    with pytest.raises(LoadError) as caught:
        choose_runtime(folder(tmp_path, *files), EngineOptions(), runtimes(installed=installed))
    assert str(caught.value) == (
        f"{tmp_path} holds nothing that can be loaded: {'; '.join(reasons)}"
    )


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="is not a folder"):
        choose_runtime(tmp_path / "none", EngineOptions(), runtimes())


def test_the_choice_in_words() -> None:
    assert in_words(EngineOptions(), runtimes()) == (
        "TensorFlow (saved_model.pb), else LiteRT (model.tflite)"
    )
    assert in_words(PREFER_TFLITE, runtimes()) == (
        "LiteRT (model.tflite), else TensorFlow (saved_model.pb)"
    )
    assert in_words(EngineOptions(), runtimes(installed=["LiteRT"])) == (
        "LiteRT (model.tflite); TensorFlow is not installed"
    )


THIRD = """
from rockstar_serving.model_server.engines.engine import Runtime
from tests.fake_engine import FakeEngine

RUNTIME = Runtime(
    name="third",
    package="json",
    install="",
    files=("model.third",),
    reads=("model.third",),
    export="",
    rank=lambda options: 5,
    load=lambda folder, options, manifest: FakeEngine(),
)
"""


def test_a_third_engine_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "third_engine.py").write_text(THIRD)
    monkeypatch.setattr(engines, "__path__", [*engines.__path__, str(tmp_path)])
    found: Any = find_runtimes()
    version = tmp_path / "1"
    version.mkdir()
    everything = folder(version, "saved_model.pb", "model.tflite", "model.third")
    assert choose_runtime(everything, EngineOptions(), found).name == "third"
