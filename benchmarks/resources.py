"""Memory and CPU of a gateway and a model server under load, to size pods.

    python -m benchmarks.resources --models demo/models

The gateway runs with the settings in k8s/base. Memory is the largest proportional set size of all
processes of each (Linux) while callers send requests without a pause; CPU time is per response.
"""

import io
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import requests
from PIL import Image

from benchmarks.model_servers import model_server
from rockstar_serving.gateway.settings import GatewayConfig

ROOT = Path(__file__).parents[1]
MODEL, SIDE = "cnn", 20
MIB = 2**20
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Load:
    """A request, and the number of callers that repeat it."""

    name: str
    callers: int
    body: bytes = b""
    content_type: str = ""


@dataclass
class Usage:
    """Memory and CPU time of a process and its descendants.

    Attributes:
        pid: process id.
        memory: the largest sample, in MiB.
    """

    pid: int
    memory: float = 0.0

    def sample(self) -> None:
        """Sample the memory."""
        self.memory = max(self.memory, sum(map(pss, tree(self.pid))) / MIB)

    def cpu(self) -> float:
        """CPU seconds since the start."""
        return sum(map(_cpu, tree(self.pid)))


@click.command()
@click.option("--models", default="demo/models", type=click.Path(exists=True, path_type=Path))
@click.option("--seconds", default=10.0, help="Duration of each load.")
def main(models: Path, seconds: float) -> None:
    """Measure and print a table."""
    with running(models) as (url, *usages):
        click.echo(f"{'':36}responses/s  gateway MiB  CPU ms  model server MiB  CPU ms")
        for load in loads():
            responses, spent = measure(url, load, seconds, usages)
            gateway, server = (
                f"{1000 * each / responses:.1f}" if responses else "-" for each in spent
            )
            click.echo(
                f"{load.name:36}{responses / seconds:11.1f}{usages[0].memory:13.0f}{gateway:>8}"
                f"{usages[1].memory:18.0f}{server:>8}"
            )


def loads() -> Iterator[Load]:
    """Loads from idle to the largest requests that a gateway accepts."""
    rows, side = GatewayConfig.max_instances, int(GatewayConfig.max_pixels**0.5)
    arrays = io.BytesIO()
    np.save(arrays, np.zeros((rows, SIDE, SIDE, 1), np.float32))
    yield Load("idle", 0)
    yield Load("PNG of a digit, 64 callers", 64, png(28), "image/png")
    yield Load(f"{rows} examples, 64 callers", 64, arrays.getvalue(), "application/x-npy")
    yield Load(f"PNG of {side} x {side}, 16 callers", 16, png(side), "image/png")


def png(side: int) -> bytes:
    """A PNG of colored noise, side x side pixels."""
    # Blocks of noise keep the largest image below the largest body.
    noise = np.random.default_rng(0).integers(0, 256, (side // 8 + 1, side // 8 + 1, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).resize((side, side), Image.Resampling.NEAREST).save(content, "PNG")
    return content.getvalue()


def measure(url: str, load: Load, seconds: float, usages: list[Usage]) -> tuple[int, list[float]]:
    """Apply a load; returns the number of good responses, and the CPU seconds of each usage."""
    until = time.monotonic() + seconds
    before = [usage.cpu() for usage in usages]
    for usage in usages:
        usage.memory = 0.0
    with ThreadPoolExecutor(load.callers + 1) as pool:
        calls = [pool.submit(_call, url, load, until) for _ in range(load.callers)]
        while time.monotonic() < until or not all(each.done() for each in calls):
            for usage in usages:
                usage.sample()
            threading.Event().wait(0.1)
        responses = sum(each.result() for each in calls)
    spent = [usage.cpu() - start for usage, start in zip(usages, before, strict=True)]
    return responses, spent


def _call(url: str, load: Load, until: float) -> int:
    responses = 0
    headers = {"Content-Type": load.content_type, "X-Request-Timeout": "10"}
    with requests.Session() as session:
        while time.monotonic() < until:
            target = f"{url}/predict/{MODEL}"
            response = session.post(target, data=load.body, headers=headers, timeout=60)
            responses += response.status_code == requests.codes.ok
    return responses


@contextmanager
def running(models: Path) -> Iterator[tuple[str, Usage, Usage]]:
    """A gateway's URL, and the usages of it and its model server, once both are ready."""
    with tempfile.TemporaryDirectory() as name, (Path(name) / "log").open("w") as log:
        config = Path(name) / "models.config"
        text = (ROOT / "serving/tfserving/models.config").read_text()
        config.write_text(text.replace('"/models', f'"{models.resolve()}'))
        flags = f"--model_config_file={config}", "--prefer_tflite_model", "--num_tflite_pools=2"
        with (
            model_server(*flags) as server,
            socket.create_server(("127.0.0.1", 0), backlog=512) as listener,
        ):
            bound = {"ROCKSTAR_BIND": f"fd://{listener.fileno()}", "ROCKSTAR_DRAIN": "0"}
            settings = _settings() | bound | {"ROCKSTAR_UPSTREAM": server["grpc"]}
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            with _gateway(settings, log, listener.fileno()) as gateway:
                while not _ready(url):
                    if gateway.poll() is not None:
                        output = Path(log.name).read_text()[-2000:]
                        raise click.ClickException(f"the gateway did not start: {output}")
                    time.sleep(0.05)
                yield url, Usage(gateway.pid), Usage(server["pid"])


def _settings() -> dict[str, str]:
    lines = (ROOT / "k8s/base/gateway/settings.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@contextmanager
def _gateway(
    settings: dict[str, str], log: io.TextIOWrapper, descriptor: int
) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "rockstar_serving.gateway"]
    environment = os.environ | settings
    with subprocess.Popen(
        command, env=environment, stdout=log, stderr=log, pass_fds=(descriptor,)
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def _ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=10).ok
    except requests.RequestException:
        return False


def tree(pid: int) -> Iterator[int]:
    """A process and its descendants."""
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from tree(int(child))


def pss(pid: int) -> int:
    """The proportional set size of a process in bytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _cpu(pid: int) -> float:
    # Fields 14 and 15, user and system time, counted after the name, which may contain spaces.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


if __name__ == "__main__":
    main()
