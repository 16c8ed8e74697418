"""Time of `rockstar serve` from a cold start to its first prediction, and its memory.

    python -m benchmarks.startup --models demo/models --image demo/samples/7.png

Starts the service several times. The time is from the start of the process to the first prediction
over HTTP. Memory is the resident set (Linux) after it.
"""

import re
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import click

from rockstar_client.calls import NEVER_AGAIN
from rockstar_client.errors import UnavailableError
from rockstar_client.http import HttpClient


@click.command()
@click.option("--models", default="demo/models", type=click.Path(exists=True, path_type=Path))
@click.option("--image", default="demo/samples/7.png", type=click.Path(exists=True, path_type=Path))
@click.option("--model", default="cnn", help="Model of the first prediction.")
@click.option("--port", default=18080, help="Port of the gateway.")
@click.option("--rounds", default=5, type=click.IntRange(1))
def main(models: Path, image: Path, model: str, port: int, rounds: int) -> None:
    """Measure and print medians."""
    times = []
    memory: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        started = time.perf_counter()
        process = _serve(models, port)
        try:
            _first_prediction(f"http://127.0.0.1:{port}", model, image)
            times.append(time.perf_counter() - started)
            for name, megabytes in _resident(process.pid):
                memory[name].append(megabytes)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
    click.echo(f"first prediction after {statistics.median(times):.2f} s ({_spread(times)})")
    for name, values in memory.items():
        click.echo(f"{name:<16} {statistics.median(values):6.1f} MB ({_spread(values)})")


def _serve(models: Path, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rockstar_cli", "serve", f"--models={models}"]
    ports = [f"--port={port}", "--grpc-port=0", "--rest-port=0"]
    return subprocess.Popen(
        [*command, *ports], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _first_prediction(url: str, model: str, image: Path) -> None:
    deadline = time.monotonic() + 60
    with HttpClient(url, retry=NEVER_AGAIN) as client:
        while True:
            try:
                client.predict(model, image)
            except UnavailableError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return


def _resident(pid: int) -> list[tuple[str, float]]:
    """Name and resident set in MB of a process and each of its descendants."""
    status = Path(f"/proc/{pid}/status").read_text()
    command = Path(f"/proc/{pid}/cmdline").read_text()
    match = re.search(r"serving\.(\w+)", command)
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    name = match[1] if match else "supervisor"
    if name == "gateway":
        name = "gateway arbiter" if children else "gateway worker"
    resident = re.search(r"VmRSS:\s+(\d+)", status)
    found = [(name, int(resident[1]) / 1024)] if resident else []
    return found + [item for child in children for item in _resident(int(child))]


def _spread(values: list[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}, {len(values)} readings"


if __name__ == "__main__":
    main()
