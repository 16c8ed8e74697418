"""LiteRT models with ops that LiteRT lacks: another file of the version, or a reason."""

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rockstar_serving.model_server.engines.engine import LoadError, ServableId
from rockstar_serving.model_server.loading import VersionLoader
from rockstar_serving.model_server.options import EngineOptions, ServerOptions
from tests.litert_models import make_parsing, rewritten
from tests.saved_models import SavedModels, example

LOAD = VersionLoader(ServerOptions((), engine=EngineOptions(prefer_tflite=True)))


@pytest.fixture
def version(saved_models: SavedModels, tmp_path: Path) -> Any:
    """Makes a version folder whose LiteRT file has other ops in place of its custom op."""

    def make(*ops: bytes) -> Path:
        def change(model: Any) -> None:
            (code,) = (code for code in model.operatorCodes if code.customCode)
            code.customCode, *more = ops
            for op in more:
                another = type(code)()
                another.builtinCode = another.deprecatedBuiltinCode = code.deprecatedBuiltinCode
                another.customCode = op
                model.operatorCodes.append(another)

        folder = shutil.copytree(saved_models.version(make_parsing), tmp_path / "1")
        file = folder / "model.tflite"
        file.write_bytes(rewritten(file.read_bytes(), change))
        return folder

    return make


def test_the_saved_model_beside_it_is_loaded_instead(
    version: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        engine = LOAD(ServableId("text", 1), version(b"FlexParseExampleV2"))
    assert engine.name == "TensorFlow"
    feeds = {"inputs": np.array([example(x=[1.0, 2.0, 3.0])], object)}
    assert engine.run("serving_default", feeds, ["scores"])["scores"].tolist() == [[2, 4, 6]]
    (record,) = caplog.records
    assert record.message.startswith("model text version 1: ")
    assert "model.tflite needs TensorFlow's ops that LiteRT does not have (Flex" in record.message


@pytest.mark.parametrize(
    ("ops", "reason"),
    [
        (
            [b"FlexErf", b"FlexAsString"],
            r"TensorFlow's ops that LiteRT does not have \(FlexAsString, FlexErf\): convert it without "
            "SELECT_TF_OPS",
        ),
        (
            [b"TFText>Tokenize", b"FlexErf", b"Mfcc"],
            r"custom ops that LiteRT does not have \(TFText>Tokenize\): convert it without custom ops",
        ),
    ],
)
def test_without_one_the_ops_are_named(version: Any, ops: list[bytes], reason: str) -> None:
    folder = version(*ops)
    (folder / "saved_model.pb").unlink()
    with pytest.raises(LoadError, match=rf"{folder}/model\.tflite needs {reason}"):
        LOAD(ServableId("text", 1), folder)
