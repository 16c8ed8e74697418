"""Flags of which models are served, and when they are loaded."""

from pathlib import Path

import pytest

from rockstar_serving.model_server.flags.parser import parse_flags
from rockstar_serving.model_server.options import LoadOptions

MODEL = "--model_base_path=/models/m"


def test_defaults_are_those_of_tensorflow_serving() -> None:
    load = parse_flags([MODEL]).options.load
    assert load == LoadOptions()
    assert (load.load_threads, load.unload_threads) == (0, 0)
    assert (load.max_load_retries, load.retry_seconds) == (5, 60)
    assert (load.poll_seconds, load.config_poll_seconds) == (1, 0)
    assert not load.allow_labels_for_unavailable


def test_all_of_them(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text("model_config_list {}")
    load = parse_flags(
        [
            f"--model_config_file={file}",
            "--model_config_file_poll_wait_seconds=30",
            "--file_system_poll_wait_seconds=5",
            "--allow_version_labels_for_unavailable_models",
            "--num_load_threads=2",
            "--num_unload_threads=1",
            "--max_num_load_retries=0",
            "--load_retry_interval_micros=1500000",
            "--require_all_models=false",
            "--wait_for_models=false",
        ]
    ).options.load
    assert load == LoadOptions(
        poll_seconds=5,
        require_all_models=False,
        wait_for_models=False,
        config_file=file,
        config_poll_seconds=30,
        allow_labels_for_unavailable=True,
        load_threads=2,
        unload_threads=1,
        max_load_retries=0,
        retry_seconds=1.5,
    )


def test_negative_numbers() -> None:
    """What TensorFlow Serving takes; it documents them as "do not wait" and "do not poll"."""
    options = parse_flags(
        [
            MODEL,
            "--load_retry_interval_micros=-1",
            "--file_system_poll_wait_seconds=-1",
            "--model_config_file_poll_wait_seconds=-1",
            "--max_num_load_retries=-1",
            "--num_request_iterations_for_warmup=-1",
        ]
    ).options
    load = options.load
    assert load.retry_seconds == load.poll_seconds == load.config_poll_seconds == 0
    assert load.max_load_retries == 0
    assert options.warmup.iterations == 1


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--load_retry_interval_micros=1.5", "expected whole microseconds, got '1.5'"),
        ("--num_load_threads=-1", "expected a whole number from 0, got '-1'"),
        ("--max_num_load_retries=many", "expected a whole number from 0, got 'many'"),
        ("--model_config_file_poll_wait_seconds=soon", "expected seconds, got 'soon'"),
        ("--allow_version_labels_for_unavailable_models=2", "expected true or false, got '2'"),
    ],
)
def test_wrong_ones(argument: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_flags([MODEL, argument])
    assert caught.value.code == 2
    flag = argument.split("=")[0]
    assert capsys.readouterr().err.startswith(f"model_server: argument {flag}: {message}")
