"""Where the time of a request goes in a gateway worker of `rockstar serve`, stage by stage.

    python -m benchmarks.request_profile --models demo/models --image demo/samples/7.png

Needs Linux, wrk, and py-spy (`pip install py-spy`) with permission to read other processes. Under
load, py-spy samples the threads of one worker 500 times per second. The time of a stage is its
share of the samples, times the CPU time of all workers per request.
"""

import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from benchmarks.resources import Usage
from benchmarks.serving.load import Load, http_load
from benchmarks.serving.systems import Request

# A sample belongs to the first stage that one of its frames belongs to.
WITHIN = {
    "running the model": ("ai_edge_litert/",),
    "decoding the image": ("rockstar_contract/images.py",),
    "preprocessing it": ("rockstar_contract/preprocessing.py", "rockstar_contract/inputs.py"),
    "metrics": ("gateway/metrics.py",),
    "access log": ("gateway/observers.py",),
    "labels and JSON": ("rockstar_contract/contract.py", "gateway/answers.py"),
    "waiting": ("selectors.py",),
}
# Otherwise, to the stage of its innermost frame in one of these packages.
INNERMOST = {
    "flask/": "Flask and Werkzeug",
    "werkzeug/": "Flask and Werkzeug",
    "granian/": "HTTP (Granian)",
    "asyncio/": "event loop",
    "rockstar_serving/": "limits, routing, batching, …",
    "rockstar_client/": "limits, routing, batching, …",
}


@click.command()
@click.option("--models", default="demo/models", type=click.Path(exists=True, path_type=Path))
@click.option("--image", default="demo/samples/7.png", type=click.Path(exists=True, path_type=Path))
@click.option("--model", default="cnn")
@click.option("--connections", default=16, type=click.IntRange(1))
@click.option("--seconds", default=10, type=click.IntRange(2))
@click.option("--port", default=18080, help="Of the gateway while it is measured.")
def main(models: Path, image: Path, model: str, connections: int, seconds: int, port: int) -> None:
    """Measure and print a table."""
    if missing := [tool for tool in ("wrk", "py-spy") if not shutil.which(tool)]:
        raise click.ClickException(f"not installed: {', '.join(missing)}")
    request = Request(f"/predict/{model}", "image/png", image.read_bytes())
    with _service(models, port) as workers:
        # Warm up both workers.
        http_load(port, [request], connections, 2)
        usages = [Usage(pid) for pid in workers]
        before = sum(usage.cpu() for usage in usages)
        load, samples = _sampled_load(workers[0], port, request, connections, seconds)
        spent = sum(usage.cpu() for usage in usages) - before
    microseconds = 1e6 * spent / load.requests
    click.echo(
        f"{load.requests / load.seconds:,.0f} requests/s, {microseconds:,.0f} µs of CPU each"
    )
    for stage, count in samples.most_common():
        share = count / samples.total()
        click.echo(f"| {stage} | {share:.0%} | {share * microseconds:.0f} |")


@contextmanager
def _service(models: Path, port: int) -> Iterator[list[int]]:
    """Run `rockstar serve`; yields the process ids of the gateway's workers."""
    command = [sys.executable, "-m", "rockstar_cli", "serve", f"--models={models}"]
    ports = [f"--port={port}", "--grpc-port=0", "--rest-port=0"]
    process = subprocess.Popen(
        [*command, *ports], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        # The last line that it prints when it is ready.
        if not any("Ctrl-C" in line for line in process.stdout or ()):
            raise click.ClickException(f"rockstar serve --models {models} ended: try it alone")
        (gateway,) = (
            pid for pid in _children(process.pid) if "rockstar_serving.gateway" in _command(pid)
        )
        yield _children(gateway)
    finally:
        process.terminate()
        process.communicate()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def _sampled_load(
    worker: int, port: int, request: Request, connections: int, seconds: int
) -> tuple[Load, Counter[str]]:
    """Apply a load; returns it, and the samples of a worker by stage."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "samples"
        duration = f"--duration={seconds - 1}"
        command = ["py-spy", "record", "--format=raw", "--rate=500", duration]
        sampler = threading.Thread(
            target=lambda: subprocess.run(
                [*command, f"--pid={worker}", f"--output={output}"], capture_output=True, check=True
            )
        )
        sampler.start()
        load = http_load(port, [request], connections, seconds)
        sampler.join()
        samples: Counter[str] = Counter()
        for line in output.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            samples[_stage(stack.split(";"))] += int(count)
    return load, samples


def _stage(frames: list[str]) -> str:
    for stage, marks in WITHIN.items():
        if any(mark in frame for frame in frames for mark in marks):
            return stage
    for frame in reversed(frames):
        for place, stage in INNERMOST.items():
            if place in frame:
                return stage
    return "else"


if __name__ == "__main__":
    main()
