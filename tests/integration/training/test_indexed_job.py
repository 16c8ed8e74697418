"""The workers of an Indexed Job as processes, each with its index."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rockstar_contract.contract import Contract
from tests.ports import free_decade
from tests.waiting import until

ROOT = Path(__file__).parents[3]


@pytest.fixture
def start(tmp_path):
    address = f"127.0.0.1:{free_decade()}{{index}}"
    processes = []

    def start_worker(index: int, *command: str) -> tuple[subprocess.Popen, Path]:
        log = tmp_path / f"worker-{index}.log"
        script = [
            sys.executable,
            "-m",
            "rockstar_training.indexed_job",
            "--workers=2",
            f"--address={address}",
        ]
        with log.open("w") as file:
            process = subprocess.Popen(
                [*script, *command],
                cwd=ROOT,
                env=os.environ | {"JOB_COMPLETION_INDEX": str(index)},
                stdout=file,
                stderr=file,
            )
        processes.append(process)
        return process, log

    yield start_worker
    for process in processes:
        process.kill()
        process.wait()


def test_two_workers_train_one_model_and_the_first_publishes_it(start, tmp_path):
    work = tmp_path / "work"
    command = [
        *(sys.executable, "-m", "rockstar_cli", "train", "logistic"),
        *("--epochs=1", "--patience=0", f"--workdir={work}"),
    ]
    first, first_log = start(0, *command)
    until(lambda: "worker 0 waits for worker 1 at 127.0.0.1:" in first_log.read_text())
    second, second_log = start(1, *command)
    assert first.wait(180) == 0, first_log.read_text()
    assert second.wait(60) == 0, second_log.read_text()
    for log in (first_log, second_log):
        assert "all 2 workers are there" in log.read_text()
        assert "Training logistic: epoch 1 of 1" in log.read_text()
    assert "logistic version 1 in " in first_log.read_text()
    assert "logistic version 1 in " not in second_log.read_text()
    assert [each.name for each in (work / "models" / "logistic").iterdir() if each.is_dir()] == [
        "1"
    ]
    contract = Contract.from_json((work / "runs" / "logistic-1" / "contract.json").read_bytes())
    metrics = json.loads((work / "runs" / "logistic-1" / "metrics.json").read_text())
    assert contract.metrics["test_accuracy"] == metrics["test_accuracy"] > 0.8


def test_a_worker_that_is_stopped_while_it_waits_ends_at_once(start):
    process, log = start(0, "true")
    until(lambda: "worker 0 waits for worker 1" in log.read_text())
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 128 + signal.SIGTERM
    assert "Traceback" not in log.read_text()
