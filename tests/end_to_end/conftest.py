import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.end_to_end.pods import Pods
from tests.manifests import manifests

ROOT = Path(__file__).parents[2]


@dataclass
class Service:
    """A running `rockstar serve`."""

    process: subprocess.Popen
    log: Path
    http: str
    grpc: str
    rest: str

    def tree(self) -> dict[int, str]:
        """Its processes and their command lines."""
        return tree(self.process.pid)

    def pid_of(self, module: str) -> int:
        """The first process of a module: for the gateway, gunicorn's arbiter."""
        return next(pid for pid, command in self.tree().items() if module in command)


def tree(pid: int) -> dict[int, str]:
    found = {pid: Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found |= tree(int(child))
    return found


def rockstar(*arguments: str, **options) -> subprocess.CompletedProcess:
    """Run the command until it exits."""
    command = [sys.executable, "-m", "rockstar_cli", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, **options)


@contextmanager
def starting(folder: Path) -> Iterator:
    """Starts services on free ports, with their logs in a folder, and stops them at the end."""
    services: list[subprocess.Popen] = []

    def start(models: Path, *arguments: str) -> Service:
        log = folder / f"serve-{len(services)}.log"
        ports = ["--port=0", "--grpc-port=0", "--rest-port=0"]
        command = [sys.executable, "-m", "rockstar_cli", "serve", f"--models={models}", *ports]
        with log.open("w") as file:
            process = subprocess.Popen(
                [*command, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=file, text=True
            )
        services.append(process)
        assert process.stdout is not None
        said = ""
        # Until the last line that `rockstar serve` prints when it is ready, or its exit.
        while "Ctrl-C" not in said:
            line = process.stdout.readline()
            assert line, f"the service ended: {log.read_text()}"
            said += line
        address = dict(re.findall(r"(HTTP|gRPC|REST) +(\S+)", said))
        rest = address.get("REST", "").removeprefix("http://")
        return Service(process, log, http=address["HTTP"], grpc=address["gRPC"], rest=rest)

    yield start
    for process in services:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        finally:
            process.kill()
            if process.stdout:
                process.stdout.close()


@pytest.fixture
def start_service(tmp_path) -> Iterator:
    """Starts services on free ports, and stops them at the end."""
    with starting(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def models(trained_models) -> Path:
    folder: Path = trained_models.workdir / "models"
    return folder


@pytest.fixture(scope="module")
def service(models, tmp_path_factory) -> Iterator[Service]:
    """One for all tests that leave it as it was."""
    with starting(tmp_path_factory.mktemp("service")) as start:
        yield start(models)


@pytest.fixture
def start_pods(trained_models, tmp_path) -> Iterator:
    """Creates pods of an overlay and components, by default with the trained models."""
    made: list[Pods] = []

    def start(overlay: str, components: tuple[str, ...] = (), models: Path | None = None) -> Pods:
        documents = manifests(overlay, components)
        made.append(Pods(documents, models or trained_models.workdir / "models", tmp_path))
        return made[-1]

    yield start
    for each in made:
        each.close()
