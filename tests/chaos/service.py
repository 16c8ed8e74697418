"""A service under test: real processes, found by what they do."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile

import requests

from tests.name_server import NameServer
from tests.ports import free_ports
from tests.waiting import until

HOSTS = ("granian", "gunicorn")
MODEL = "chaos"
WORKERS = 2
# The most files that a process may open.
DESCRIPTORS = 256


def faked_clock(libfaketime: Path, offset: Path) -> dict[str, str]:
    """The environment of a process whose clock differs by an offset in a file, such as "+3600"."""
    return {
        "LD_PRELOAD": str(libfaketime),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_CACHE_DURATION": "1",
        # As when a clock is set: sleeping and timeouts go on as before.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


def can_sleep(libfaketime: Path) -> bool:
    """Whether Python can sleep under libfaketime; with 0.9.10, time.sleep fails."""
    with NamedTemporaryFile("w") as offset:
        offset.write("+0\n")
        offset.flush()
        environment = os.environ | faked_clock(libfaketime, Path(offset.name))
        command = [sys.executable, "-c", "import time; time.sleep(0.01)"]
        done = subprocess.run(command, check=False, env=environment, capture_output=True)
    return done.returncode == 0


@dataclass
class Usage:
    """What the processes of a role use: the largest of them."""

    resident_mb: float = 0.0
    descriptors: int = 0
    threads: int = 0


@dataclass
class Service:
    """`rockstar serve`, and on gunicorn the model server in front of which it runs.

    Attributes:
        host: "granian" runs the models in its workers; "gunicorn" calls the model server.
        models: model folder.
        folder: for its files.
        libfaketime: library that changes the clock by the file `clock`; None: the real clock.
        ports: of HTTP, gRPC and REST.
        names: by which gunicorn's workers find the model server.
    """

    host: str
    models: Path
    folder: Path
    libfaketime: Path | None = None
    ports: list[int] = field(default_factory=lambda: free_ports(3))
    names: NameServer = field(default_factory=lambda: NameServer("127.0.0.1"))
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Of the gateway."""
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def grpc(self) -> str:
        """Address of the model server."""
        return f"127.0.0.1:{self.ports[1]}"

    @property
    def log(self) -> Path:
        """The output of all processes."""
        return self.folder / f"{self.host}.log"

    @property
    def clock(self) -> Path:
        """The offset of the clock, such as "+3600"."""
        return self.folder / "clock"

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run it; ready when entered."""
        http, grpc, rest = self.ports
        serve = ["rockstar_cli", "serve", f"--port={http}", f"--models={self.models}"]
        workers = f"--workers={WORKERS}"
        self.clock.write_text("+0\n")
        with contextlib.ExitStack() as stack:
            stack.callback(self._stop)
            stack.enter_context(self.names)
            if self.host == "granian":
                self._start(*serve, f"--grpc-port={grpc}", f"--rest-port={rest}", workers)
            else:
                threading.Thread(target=self._keep_model_server, daemon=True).start()
                self._start(*serve, f"--tfserving={self.names.target(grpc)}", workers)
            until(self.ready, 60, f"a service on {self.host} that is ready (see {self.log})")
            yield

    def _stop(self) -> None:
        self._stopping.set()
        for process in reversed(self._processes):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def ready(self) -> bool:
        """Whether it predicts."""
        try:
            return requests.get(f"{self.url}/readyz", timeout=5).ok and self._model_server_listens()
        except requests.RequestException:
            return False

    def is_whole(self) -> bool:
        """Whether each process runs once, and each worker: none is being replaced."""
        return [len(pids) for pids in self.roles().values()] == [1, 1, WORKERS, 1]

    def versions(self) -> set[int]:
        """The versions that the model server has available; empty if it does not respond."""
        url = f"http://127.0.0.1:{self.ports[2]}/v1/models/{MODEL}"
        try:
            states = requests.get(url, timeout=5).json()["model_version_status"]
        except (requests.RequestException, ValueError, KeyError):
            return set()
        return {int(each["version"]) for each in states if each["state"] == "AVAILABLE"}

    def roles(self) -> dict[str, list[int]]:
        """The processes by role: supervisor, parent and workers of the gateway, model server."""
        found: dict[str, list[int]] = {
            "supervisor": [], "parent": [], "worker": [], "model server": []
        }  # fmt: skip
        for process in self._processes:
            for pid, parent in _tree(process.pid, 0):
                command = _read(f"/proc/{pid}/cmdline").split("\0")
                if "rockstar_serving.model_server" in command:
                    found["model server"].append(pid)
                elif "rockstar_serving.gateway" not in command:
                    found["supervisor"].append(pid)
                elif "rockstar_serving.gateway" in _read(f"/proc/{parent}/cmdline"):
                    found["worker"].append(pid)
                else:
                    found["parent"].append(pid)
        return found

    def usage(self) -> dict[str, Usage]:
        """What the processes use, by role."""
        usages: dict[str, Usage] = {}
        for role, pids in self.roles().items():
            usage = usages.setdefault(role, Usage())
            for pid in pids:
                with contextlib.suppress(OSError, StopIteration):
                    status = _read(f"/proc/{pid}/status").splitlines()
                    fields = dict(line.split(":\t", 1) for line in status if ":\t" in line)
                    resident = int(fields["VmRSS"].split()[0]) / 1024
                    usage.resident_mb = max(usage.resident_mb, resident)
                    usage.threads = max(usage.threads, int(fields["Threads"]))
                    open_files = len(os.listdir(f"/proc/{pid}/fd"))
                    usage.descriptors = max(usage.descriptors, open_files)
        return usages

    def _keep_model_server(self) -> None:
        """Run the model server, and start it again when it ends, as an orchestrator does."""
        config = self.folder / "models.config"
        config.write_text(
            f'model_config_list {{ config {{ name: "{MODEL}" base_path: "{self.models / MODEL}" '
            'model_platform: "tensorflow" } }'
        )
        _, grpc, rest = self.ports
        while not self._stopping.is_set():
            process = self._start(
                "rockstar_serving.model_server",
                f"--model_config_file={config}",
                "--prefer_tflite_model",
                f"--port={grpc}",
                f"--rest_api_port={rest}",
                "--host=127.0.0.1",
            )
            process.wait()
            self._processes.remove(process)

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        environment = dict(os.environ)
        if self.libfaketime:
            environment |= faked_clock(self.libfaketime, self.clock)
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                preexec_fn=lambda: resource.setrlimit(
                    resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS)
                ),
            )
        self._processes.append(process)
        return process

    def _model_server_listens(self) -> bool:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.ports[1]), 2),
        ):
            return bool(self.versions())
        return False


def _tree(pid: int, parent: int) -> Iterator[tuple[int, int]]:
    """A process and its descendants, each with its parent."""
    yield pid, parent
    for child in _read(f"/proc/{pid}/task/{pid}/children").split():
        yield from _tree(int(child), pid)


def _read(path: str) -> str:
    """A file of /proc; empty once the process has ended."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""
