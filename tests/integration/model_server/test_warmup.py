"""Warmup of a process, from a version folder with warmup requests."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from rockstar_contract.manifest import write_manifest
from rockstar_serving.model_server.engines.engine import LoadError, ServableId
from rockstar_serving.model_server.loading import VersionLoader
from rockstar_serving.model_server.options import ServerOptions, WarmupOptions
from tests.integration.model_server.conftest import Start, ask
from tests.model_fixtures import SIDE, write_version
from tests.saved_models import SavedModels, make_tf1
from tests.warmup_files import (
    FILE,
    examples_log,
    multi_inference_log,
    predict_log,
    write_records,
)
from tfs_api.signature import CLASSIFY_METHOD, REGRESS_METHOD

IMAGE = np.zeros((1, SIDE, SIDE, 1), dtype=np.float32)


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    """Versions 1 and 2: only the second has warmup requests."""
    base_path = tmp_path / "toy"
    write_version(base_path, 1)
    folder = write_version(base_path, 2)
    write_records(
        folder,
        [
            predict_log({"image": IMAGE}),
            predict_log({"query": np.zeros(1, dtype=np.int32)}, "contract"),
            predict_log({"image": IMAGE}, "classify"),
        ],
    )
    return base_path


def flags(base_path: Path) -> tuple[str, ...]:
    return f"--model_base_path={base_path}", "--port=0", "--rest_api_port=auto"


def test_a_version_is_warmed_up_before_it_is_available(start: Start, base_path: Path) -> None:
    process = start(*flags(base_path), "--num_request_iterations_for_warmup=3")
    assert ask(process.address()["rest"], "/v1/models/default/versions/2")[0] == 200
    process.popen.terminate()
    code, log = process.finish()
    assert code == 0
    warmed = log.index("INFO model_server: model default version 2: warmed up with 6 requests in ")
    skipped = "skipped 1 warmup requests: LiteRT has no signature classify"
    assert f"WARNING model_server: model default version 2: {skipped}" in log
    assert warmed < log.index("model default version 2 is available")


def test_a_damaged_file_falls_back(start: Start, base_path: Path) -> None:
    file = base_path / "2" / FILE
    file.write_bytes(file.read_bytes()[:-3])
    write_manifest(base_path / "2")
    process = start(*flags(base_path))
    status, answer = ask(process.address()["rest"], "/v1/models/default")
    assert status == 200
    broken, fallback = answer["model_version_status"]
    assert (broken["version"], broken["state"]) == ("2", "END")
    assert f"warmup file {file}: truncated record at byte" in broken["status"]["error_message"]
    assert (fallback["version"], fallback["state"]) == ("1", "AVAILABLE")


def test_warmup_can_be_left_out(base_path: Path) -> None:
    (base_path / "2" / FILE).write_bytes(b"damaged")
    write_manifest(base_path / "2")
    options = ServerOptions(models=(), warmup=WarmupOptions(enabled=False))
    VersionLoader(options)(ServableId("m", 2), base_path / "2").close()


@pytest.fixture
def saved_model(saved_models: SavedModels, tmp_path: Path) -> Path:
    return shutil.copytree(saved_models.version(make_tf1), tmp_path / "1")


def test_all_kinds_of_requests_in_tensorflow(
    saved_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tasks = ("classify", CLASSIFY_METHOD), ("regress", REGRESS_METHOD)
    write_records(
        saved_model,
        [
            predict_log({"x": [[1.0, 2.0]]}),
            examples_log("classify_log", "classify", [1.0, 2.0]),
            examples_log("regress_log", "regress", [1.0, 2.0]),
            multi_inference_log(*tasks, x=[1.0, 2.0]),
        ],
    )
    write_manifest(saved_model)
    VersionLoader(ServerOptions(models=()))(ServableId("m", 1), saved_model).close()
    assert "model m version 1: warmed up with 4 requests in " in caplog.text


def test_tensorflow_has_all_signatures_or_does_not_load(saved_model: Path) -> None:
    write_records(saved_model, [predict_log({"x": [[1.0, 2.0]]}, "none")])
    write_manifest(saved_model)
    with pytest.raises(LoadError, match=r'record 1 \(predict_log\): .*"none" not found'):
        VersionLoader(ServerOptions(models=()))(ServableId("m", 1), saved_model)
