"""Flags of how models are run."""

import pytest

from rockstar_serving.model_server.flags.parser import parse_flags
from rockstar_serving.model_server.options import EngineOptions

MODEL = "--model_base_path=/models/m"
THREADS = "--tensorflow_session_parallelism"
INTRA, INTER = "--tensorflow_intra_op_parallelism", "--tensorflow_inter_op_parallelism"


def engine(*flags: str) -> EngineOptions:
    return parse_flags([MODEL, *flags]).options.engine


def test_defaults_are_those_of_tensorflow_serving() -> None:
    options = engine()
    assert options == EngineOptions()
    assert not options.prefer_tflite
    assert options.saved_model_tags == {"serve"}


@pytest.mark.parametrize(
    ("flags", "intra", "inter"),
    [
        ([f"{THREADS}=3"], 3, 3),
        ([f"{INTRA}=2"], 2, 0),
        ([f"{INTER}=4"], 0, 4),
        ([f"{INTRA}=2", f"{INTER}=4"], 2, 4),
        ([f"{THREADS}=3", f"{INTRA}=2"], 2, 0),
        ([f"{THREADS}=3", f"{INTER}=4"], 0, 4),
    ],
)
def test_threads(flags: list[str], intra: int, inter: int) -> None:
    options = engine(*flags)
    assert (options.intra_op_threads, options.inter_op_threads) == (intra, inter)


def test_all_others() -> None:
    options = engine(
        "--prefer_tflite_model",
        "--saved_model_tags=serve, gpu",
        "--per_process_gpu_memory_fraction=0.25",
        "--num_tflite_pools=3",
        "--num_tflite_interpreters_per_pool=2",
        "--litert_on_demand",
    )
    assert options == EngineOptions(
        prefer_tflite=True,
        saved_model_tags=frozenset({"serve", "gpu"}),
        gpu_memory_fraction=0.25,
        litert_pools=3,
        litert_interpreters=2,
        litert_on_demand=True,
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([f"{THREADS}=1", f"{INTRA}=1", f"{INTER}=1"], f"{THREADS} cannot be given together with"),
        ([f"{INTRA}=-1"], f"argument {INTRA}: expected a whole number from 0, got '-1'"),
        (
            ["--per_process_gpu_memory_fraction=2"],
            "argument --per_process_gpu_memory_fraction: expected 0 to 1, got '2'",
        ),
        (
            ["--per_process_gpu_memory_fraction=half"],
            "argument --per_process_gpu_memory_fraction: expected 0 to 1, got 'half'",
        ),
        (
            ["--saved_model_tags=,"],
            "argument --saved_model_tags: expected names with commas between them, got ','",
        ),
        (
            ["--num_tflite_interpreters_per_pool=0"],
            "argument --num_tflite_interpreters_per_pool: expected at least 1, got '0'",
        ),
    ],
)
def test_wrong_flags(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        engine(*flags)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith(f"model_server: {message}")
