"""What a gateway and an embedded model server take under load: requests and limits of pods follow.

    python -m benchmarks.resources --models demo/models

The gateway runs with the settings of k8s/base. Memory is the largest proportional set size of all
processes of each (Linux) while callers ask without a pause; CPU time is per answer.
"""

import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import requests
from PIL import Image

from rockstar_serving.gateway.settings import GatewayConfig

ROOT = Path(__file__).parents[1]
MODEL, SIDE = "cnn", 20
MIB = 2**20
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Load:
    """What callers send, and how many of them."""

    name: str
    callers: int
    body: bytes = b""
    content_type: str = ""


@dataclass
class Usage:
    """Of a process and its children: largest memory in MiB, seconds of CPU time."""

    pid: int
    memory: float = 0.0

    def look(self) -> None:
        """Note the memory of this moment."""
        self.memory = max(self.memory, sum(map(_pss, _tree(self.pid))) / MIB)

    def cpu(self) -> float:
        """Since it started."""
        return sum(map(_cpu, _tree(self.pid)))


@click.command()
@click.option("--models", default="demo/models", type=click.Path(exists=True, path_type=Path))
@click.option("--seconds", default=10.0, help="For each load.")
def main(models: Path, seconds: float) -> None:
    """Measure and print a table."""
    with running(models) as (url, *usages):
        click.echo(f"{'':36}answers/s  gateway MiB  CPU ms  model server MiB  CPU ms")
        for load in loads():
            answers, spent = measure(url, load, seconds, usages)
            gateway, server = (f"{1000 * each / answers:.1f}" if answers else "-" for each in spent)
            click.echo(
                f"{load.name:36}{answers / seconds:9.1f}{usages[0].memory:13.0f}{gateway:>8}"
                f"{usages[1].memory:18.0f}{server:>8}"
            )


def loads() -> Iterator[Load]:
    """From nothing to the most that a gateway takes."""
    rows, side = GatewayConfig.max_instances, int(GatewayConfig.max_pixels**0.5)
    arrays = io.BytesIO()
    np.save(arrays, np.zeros((rows, SIDE, SIDE, 1), np.float32))
    yield Load("nothing", 0)
    yield Load("PNG of a digit, 64 callers", 64, _png(28), "image/png")
    yield Load(f"{rows} examples, 64 callers", 64, arrays.getvalue(), "application/x-npy")
    yield Load(f"PNG of {side} x {side}, 16 callers", 16, _png(side), "image/png")


def _png(side: int) -> bytes:
    # Blocks of noise, so that the largest image stays below the largest body.
    noise = np.random.default_rng(0).integers(0, 256, (side // 8 + 1, side // 8 + 1, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).resize((side, side), Image.Resampling.NEAREST).save(content, "PNG")
    return content.getvalue()


def measure(url: str, load: Load, seconds: float, usages: list[Usage]) -> tuple[int, list[float]]:
    """Ask for some seconds; the number of answers, and the CPU seconds of both."""
    until = time.monotonic() + seconds
    before = [usage.cpu() for usage in usages]
    for usage in usages:
        usage.memory = 0.0
    with ThreadPoolExecutor(load.callers + 1) as pool:
        asking = [pool.submit(_ask, url, load, until) for _ in range(load.callers)]
        while time.monotonic() < until or not all(each.done() for each in asking):
            for usage in usages:
                usage.look()
            threading.Event().wait(0.1)
        answers = sum(each.result() for each in asking)
    spent = [usage.cpu() - start for usage, start in zip(usages, before, strict=True)]
    return answers, spent


def _ask(url: str, load: Load, until: float) -> int:
    answers = 0
    headers = {"Content-Type": load.content_type, "X-Request-Timeout": "10"}
    with requests.Session() as session:
        while time.monotonic() < until:
            target = f"{url}/predict/{MODEL}"
            answer = session.post(target, data=load.body, headers=headers, timeout=60)
            answers += answer.status_code == requests.codes.ok
    return answers


@contextmanager
def running(models: Path) -> Iterator[tuple[str, Usage, Usage]]:
    """A gateway's URL, it and its model server, from when they are ready."""
    with tempfile.TemporaryDirectory() as name, (Path(name) / "log").open("w") as log:
        address = Path(name) / "address.json"
        config = Path(name) / "models.config"
        text = (ROOT / "serving/tfserving/models.config").read_text()
        config.write_text(text.replace('"/models', f'"{models.resolve()}'))
        flags = ["--port=auto", f"--address_file={address}", f"--model_config_file={config}"]
        with _process(
            [
                "rockstar_serving.model_server",
                *flags,
                "--prefer_tflite_model",
                "--num_tflite_pools=2",
            ],
            {},
            log,
        ) as server:
            _until(lambda: address.exists(), server, log.name)
            upstream = json.loads(address.read_text())["grpc"]
            with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
                bound = {"ROCKSTAR_BIND": f"fd://{listener.fileno()}", "ROCKSTAR_DRAIN": "0"}
                settings = _settings() | bound | {"ROCKSTAR_UPSTREAM": upstream}
                url = f"http://127.0.0.1:{listener.getsockname()[1]}"
                with _process(
                    ["rockstar_serving.gateway"], settings, log, listener.fileno()
                ) as gateway:
                    _until(lambda: _ready(url), gateway, log.name)
                    yield url, Usage(gateway.pid), Usage(server.pid)


def _settings() -> dict[str, str]:
    lines = (ROOT / "k8s/base/gateway/settings.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@contextmanager
def _process(
    arguments: list[str], environment: dict[str, str], log: io.TextIOWrapper, *passed: int
) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", *arguments]
    process = subprocess.Popen(
        command, env=os.environ | environment, stdout=log, stderr=log, pass_fds=passed
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _until(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: str) -> None:
    while not condition():
        if process.poll() is not None:
            raise click.ClickException(f"it did not start: {Path(log).read_text()[-2000:]}")
        time.sleep(0.05)


def _ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=10).ok
    except requests.RequestException:
        return False


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from _tree(int(child))


def _pss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _cpu(pid: int) -> float:
    # After the name in parentheses, which may hold spaces: fields 14 and 15, user and system time.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


if __name__ == "__main__":
    main()
