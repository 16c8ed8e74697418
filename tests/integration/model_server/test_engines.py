"""The engine of each version, observed from outside the process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.model_server.conftest import Start, ask
from tests.litert_models import make_both, make_litert
from tests.model_fixtures import write_version
from tests.saved_models import SavedModels, make_examples, make_tf1, make_vocabulary

SERVE = """
import json, sys
from rockstar_serving.model_server.flags import PROGRAM, FlagParser, server_options
from rockstar_serving.model_server.server import ModelServer
import rockstar_serving.model_server.command
with ModelServer(server_options(FlagParser(PROGRAM).parse(sys.argv[1:]))):
    print(json.dumps(sorted({"tensorflow", "ai_edge_litert"} & set(sys.modules))))
"""


@pytest.mark.parametrize(
    ("files", "flags"),
    [
        (["model.tflite"], []),
        (["model.tflite", "saved_model.pb"], ["--prefer_tflite_model"]),
        (["model.tflite", "saved_model.pb"], ["--prefer_tflite_model=true"]),
    ],
)
def test_tensorflow_is_not_imported(tmp_path: Path, files: list[str], flags: list[str]) -> None:
    folder = write_version(tmp_path / "m", 1)
    for name in files:
        (folder / name).touch()
    run = subprocess.run(
        [
            *(sys.executable, "-c", SERVE, f"--model_base_path={folder.parent}", *flags),
            *("--port=auto", "--host=127.0.0.1"),
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": "."},
        cwd=Path(__file__).parents[3],
        timeout=60,
    )
    assert json.loads(run.stdout.splitlines()[-1]) == ["ai_edge_litert"]


@pytest.mark.slow
def test_a_process_with_both_engines(
    start: Start, saved_models: SavedModels, tmp_path: Path
) -> None:
    makers = (make_both, make_examples, make_litert, make_tf1, make_vocabulary)
    names = [make.__name__.removeprefix("make_") for make in makers]
    base_paths = [saved_models.version(make).parent for make in makers]
    config = tmp_path / "models.config"
    config.write_text(
        "model_config_list {"
        + "".join(
            f'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" }} '
            for name, path in zip(names, base_paths, strict=True)
        )
        + "}"
    )
    process = start(f"--model_config_file={config}", "--port=auto", "--rest_api_port=auto")
    rest = process.address(seconds=120)["rest"]

    def answer(model: str, signature: str, **inputs: object) -> Any:
        body = {"signature_name": signature, "inputs": inputs}
        return ask(rest, f"/v1/models/{model}:predict", body)[1]

    assert answer("tf1", "serving_default", x=[[1, 2]]) == {"outputs": [[5, -5]]}
    assert answer("both", "linear", x=[[1, 2]]) == {"outputs": [[5]]}
    assert answer("litert", "linear", x=[[1, 2]]) == {"outputs": [[5]]}
    assert answer("vocabulary", "serving_default", words=["cedar", "?"]) == {"outputs": [2, 3]}
    # The graph decides which shapes it accepts, regardless of the signature.
    for model in ("both", "litert"):
        body = {"signature_name": "twice_float32", "instances": [1.0, 2.0, 5.0]}
        assert ask(rest, f"/v1/models/{model}:predict", body) == (200, {"predictions": [2, 4, 10]})
        assert answer(model, "twice_float32", x=3.0) == {"outputs": 6}
    wrong = answer("both", "as_rows", x=[1, 2])
    assert wrong["error"].startswith(
        "Input to reshape is a tensor with 2 values, but the requested"
    )
    wrong = answer("litert", "as_rows", x=[1, 2])
    assert wrong["error"].startswith('LiteRT cannot run the signature "as_rows" on these inputs')
    process.popen.terminate()
    code, log = process.finish()
    assert code == 0
    assert "engine of a version: TensorFlow (saved_model.pb), else LiteRT (model.tflite)" in log
    for name in names:
        engine = "LiteRT" if name == "litert" else "TensorFlow"
        assert f"model {name} version 1 is available ({engine}, " in log
    assert "Traceback" not in log
