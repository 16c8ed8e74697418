"""Flags of batching."""

from pathlib import Path

import pytest

from rockstar_serving.model_server.batching.parameters import QueueParameters
from rockstar_serving.model_server.flags.parser import parse_flags
from rockstar_serving.model_server.models.config import ConfigError

MODEL = "--model_base_path=/models/m"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "batching.pbtxt"
    path.write_text("max_batch_size { value: 8 } num_batch_threads { value: 3 }")
    return path


def test_off_unless_asked_for() -> None:
    batching = parse_flags([MODEL]).options.batching
    assert (batching.enabled, batching.per_model) == (False, False)


def test_without_a_file() -> None:
    batching = parse_flags([MODEL, "--enable_batching"]).options.batching
    assert batching.enabled
    assert batching.parameters.queue == QueueParameters()
    assert batching.parameters.thread_pool_name == "model_server_batch_threads"


def test_with_a_file(file: Path) -> None:
    flags = [MODEL, "--enable_batching=true", f"--batching_parameters_file={file}"]
    batching = parse_flags(flags).options.batching
    assert (batching.parameters.queue.max_batch_size, batching.parameters.threads) == (8, 3)


def test_for_each_model(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    flags = [
        *(MODEL, "--enable_batching", f"--batching_parameters_file={file}"),
        "--enable_per_model_batching_parameters",
    ]
    with caplog.at_level("INFO"):
        assert parse_flags(flags).options.batching.per_model
    assert caplog.messages == [
        f"batching parameters file {file}: without effect here: max_batch_size"
    ]


def test_for_each_model_without_batching(caplog: pytest.LogCaptureFixture) -> None:
    parse_flags([MODEL, "--enable_per_model_batching_parameters"])
    assert caplog.messages == [
        "--enable_per_model_batching_parameters is without effect: no --enable_batching"
    ]


def test_a_file_without_batching(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_flags([MODEL, f"--batching_parameters_file={file}"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith(
        "model_server: server_options.batching_parameters_file is set without setting "
        "server_options.enable_batching to true."
    )


def test_a_wrong_file(file: Path) -> None:
    file.write_text("max_batch_size: 8")
    with pytest.raises(ConfigError, match=r"max_batch_size \{ value: 128 \}"):
        parse_flags([MODEL, "--enable_batching", f"--batching_parameters_file={file}"])
