"""The workers of an Indexed Job as processes, each with its index."""

import contextlib
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
        log = tmp_path / f"worker-{index}-{len(processes)}.log"
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
                start_new_session=True,
            )
        processes.append(process)
        return process, log

    yield start_worker
    for process in processes:
        end(process)


def end(process: subprocess.Popen) -> None:
    """Kill a worker with its training, as the end of a container does."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_two_workers_train_one_model_although_one_is_restarted(start, tmp_path):
    work = tmp_path / "work"
    command = [
        *(sys.executable, "-m", "rockstar_cli", "train", "logistic"),
        *("--epochs=40", "--patience=0", f"--workdir={work}"),
    ]
    first, first_log = start(0, *command)
    until(lambda: "worker 0 waits for worker 1 at 127.0.0.1:" in first_log.read_text())
    second, _ = start(1, *command)
    until(lambda: [*work.glob("runs/.unfinished/*/checkpoint")], 300, "a checkpoint")
    end(second)
    second, second_log = start(1, *command)
    assert first.wait(300) == 0, first_log.read_text()
    assert second.wait(60) == 0, second_log.read_text()
    log = first_log.read_text()
    assert log.count("all 2 workers are there") == 2
    assert "worker 1 is lost: all start again from the last checkpoint" in log
    assert "Training continued from a checkpoint after epoch " in log
    assert "logistic version 1 in " in log
    assert "logistic version 1 in " not in second_log.read_text()
    assert [each.name for each in (work / "models" / "logistic").iterdir() if each.is_dir()] == [
        "1"
    ]
    contract = Contract.from_json((work / "runs" / "logistic-1" / "contract.json").read_bytes())
    metrics = json.loads((work / "runs" / "logistic-1" / "metrics.json").read_text())
    assert contract.metrics["test_accuracy"] == metrics["test_accuracy"] > 0.8


# Worker 1 trains at once; worker 0, which publishes, until there is a file.
SCRIPT = (
    "echo $JOB_COMPLETION_INDEX >> starts; test $JOB_COMPLETION_INDEX = 1 && exit;"
    "while ! test -e published; do sleep 0.1; done"
)


@pytest.mark.parametrize(("lost", "starts"), [(0, "0011"), (1, "01")])
def test_a_worker_that_is_lost_after_the_training_does_not_wait_in_vain(
    start, tmp_path, lost, starts
):
    script = ("sh", "-c", f"cd {tmp_path}; {SCRIPT}")
    (first, _), (second, log) = (start(index, *script) for index in (0, 1))
    until(lambda: "worker 1 has finished" in log.read_text())
    workers, file = [first, second], tmp_path / "starts"
    end(workers[lost])
    workers[lost], log = start(lost, *script)
    until(lambda: len(file.read_text().split()) == len(starts))
    (tmp_path / "published").touch()
    assert [worker.wait(30) for worker in workers] == [0, 0], log.read_text()
    assert "".join(sorted(file.read_text().split())) == starts


def test_a_worker_that_is_stopped_while_it_waits_ends_at_once(start):
    process, log = start(0, "true")
    until(lambda: "worker 0 waits for worker 1" in log.read_text())
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 128 + signal.SIGTERM
    assert "Traceback" not in log.read_text()
