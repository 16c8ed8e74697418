"""Model servers as processes that start and stop like a Deployment's pods behind a headless service.

Each has its own address in 127.0.0.0/8 and the same port. A pod that is to stop leaves the name
server immediately. It exits once the gateway has resolved the name again and has closed its
connections, for which preStop leaves time on a cluster. Like TensorFlow Serving, it exits without
finishing requests.
"""

import itertools
import socket
import struct
import subprocess
import sys
from pathlib import Path

from tests.name_server import NameServer
from tests.ports import free_ports
from tests.waiting import until

ROOT = Path(__file__).parents[3]
_ESTABLISHED = "01"


class CountingNameServer(NameServer):
    """Counts queries."""

    asked = 0

    def _answer(self, message: bytes) -> bytes:
        answer = super()._answer(message)
        self.asked += 1
        return answer


class Pods:
    """Replaces kubectl for the deployment of model servers.

    Args:
        models: folder with cnn/1 and cnn/2; image n has only version n.
        names: name server with the addresses of the ready pods, for one gateway worker.
        logs: folder for the logs.
    """

    def __init__(self, models: Path, names: CountingNameServer, logs: Path) -> None:
        (self.port,) = free_ports(1)
        self._models, self._names, self._logs = models, names, logs
        self._numbers = itertools.count(2)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, version: int) -> None:
        """Start a pod; returns when it is ready."""
        address = f"127.0.0.{next(self._numbers)}"
        config = self._logs / f"{address}.config"
        config.write_text(
            f'model_config_list {{ config {{ name: "cnn" base_path: "{self._models}/cnn" '
            'model_platform: "tensorflow" '
            f"model_version_policy {{ specific {{ versions: {version} }} }} }} }}"
        )
        command = [
            *(sys.executable, "-m", "rockstar_serving.model_server", "--prefer_tflite_model"),
            f"--host={address}",
            f"--port={self.port}",
            f"--model_config_file={config}",
            "--grpc_channel_arguments=grpc.max_connection_age_ms=500",
        ]
        with (self._logs / f"{address}.log").open("w") as log:
            self._running[address] = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        until(lambda: self._listens(address), what=f"a model server at {address}")
        self._names.addresses.append(address)

    def pods(self, name: str) -> list[str]:
        """Names of the pods."""
        assert name == "model-server"
        return [f"pod/{address}" for address in self._running]

    def do(self, *arguments: str) -> None:
        """The kubectl commands that the test runs during a rollout."""
        match arguments:
            case ("set", "image", "deployment/model-server", image):
                self._replace_all(int(image.rpartition("-")[2]))
            case ("rollout", "status", "deployment/model-server", _):
                pass
            case ("wait", "--for=delete", *pods, _):
                assert not {pod.removeprefix("pod/") for pod in pods} & self._running.keys()
            case _:
                raise AssertionError(arguments)

    def end(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()

    def _replace_all(self, version: int) -> None:
        """Start a new pod before stopping an old one: maxSurge 1, maxUnavailable 0."""
        for address in list(self._running):
            self.start(version)
            self._take_away(address)

    def _take_away(self, address: str) -> None:
        self._names.addresses.remove(address)
        # Each lookup queries IPv4 and IPv6, and one may have been in progress.
        asked = self._names.asked + 3
        until(lambda: self._names.asked >= asked, what="a question for names")
        until(lambda: not self._connected(address), what="an idle old pod")
        process = self._running.pop(address)
        process.kill()
        process.wait()

    def _listens(self, address: str) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((address, self.port)) == 0

    def _connected(self, address: str) -> bool:
        """Whether it has connections, according to Linux's table."""
        (number,) = struct.unpack("=I", socket.inet_aton(address))
        own = f"{number:08X}:{self.port:04X}"
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return any(row[1] == own and row[3] == _ESTABLISHED for row in rows)
