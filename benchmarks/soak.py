"""Hours of mixed load on `rockstar serve`: does anything grow, slow down or fail?

    python -m benchmarks.soak --models demo/models --minutes 60

Callers send PNGs, forms, arrays, tensors to /v1 and /v2, and requests that must be rejected, at a
fixed rate. Every ten seconds a line of build/soak/soak.csv gets the memory, open files and threads
of all processes together, and the latencies; soak.png shows them. Linux only.
"""

import csv
import io
import itertools
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
import numpy as np
import requests

from benchmarks.resources import MIB, png, pss, tree

_EVERY_S = 10.0
# Until then caches fill and allocators reach their size.
_SETTLED_MINUTES = 10.0
_GROWTH = 0.02


class Call(msgspec.Struct, frozen=True):
    """A request, and the status that it must get."""

    path: str
    body: bytes
    content_type: str
    status: int = 200


class Sample(msgspec.Struct, frozen=True):
    """A line of the CSV file: since the last one, or now.

    Attributes:
        minute: since the start.
        requests: number of responses.
        errors: of these, those with another status than expected, or none.
        p50_ms: median latency.
        p99_ms: 99th percentile.
        rss_mb: resident sets of all processes.
        pss_mb: their proportional sets, in which shared pages count once.
        descriptors: open files.
        threads: of all processes.
    """

    minute: float
    requests: int
    errors: int
    p50_ms: float
    p99_ms: float
    rss_mb: float
    pss_mb: float
    descriptors: int
    threads: int


@click.command()
@click.option("--models", default="demo/models", type=click.Path(exists=True, path_type=Path))
@click.option("--model", default="cnn", help="Of images.")
@click.option("--minutes", default=60.0)
@click.option("--rate", default=50.0, help="Requests per second.")
@click.option("--callers", default=8, type=click.IntRange(1))
@click.option("--output", default="build/soak", type=click.Path(path_type=Path))
def main(models: Path, model: str, minutes: float, rate: float, callers: int, output: Path) -> None:
    """Apply the load; exits with status 1 after errors, or if memory grew by more than 2 %."""
    output.mkdir(parents=True, exist_ok=True)
    with _serving(models, output / "log") as (url, pid):
        load = Load(url, list(calls(model, url)), rate, callers)
        samples = []
        with (output / "soak.csv").open("w", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(Sample.__struct_fields__)
            for sample in load.samples(pid, minutes):
                samples.append(sample)
                lines.writerow(msgspec.structs.astuple(sample))
                file.flush()
    _plot(samples, output / "soak.png")
    settled = [each for each in samples if each.minute >= min(_SETTLED_MINUTES, minutes / 3)]
    part = max(1, len(settled) // 5)
    failed = sum(each.errors for each in samples)
    click.echo(f"{sum(each.requests for each in samples):,} requests, {failed} errors")
    for name in ("rss_mb", "pss_mb", "descriptors", "threads", "p50_ms", "p99_ms"):
        first, last = (
            statistics.median(getattr(each, name) for each in some)
            for some in (settled[:part], settled[-part:])
        )
        click.echo(f"{name:12} {first:8.1f} -> {last:8.1f}  {last / first - 1:+.1%}")
        if name in ("rss_mb", "pss_mb") and last > first * (1 + _GROWTH):
            failed += 1
    sys.exit(bool(failed))


def calls(model: str, url: str) -> Iterator[Call]:
    """The requests of a round."""
    contract = requests.get(f"{url}/v1/models/{model}/metadata", timeout=30).json()
    signature = contract["metadata"]["signature_def"]["signature_def"]["serving_default"]
    ((name, tensor),) = signature["inputs"].items()
    shape = [1, *(int(dim["size"]) for dim in tensor["tensor_shape"]["dim"][1:])]
    pixels = np.random.default_rng(0).random(shape, np.float32)
    array = io.BytesIO()
    np.save(array, pixels)
    predict, image = f"/predict/{model}", png(28)
    part = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    form = b"".join(part + image + b"\r\n" for _ in range(8)) + b"--x--\r\n"
    infer = {"name": name, "shape": shape, "datatype": "FP32", "data": pixels.ravel().tolist()}
    for _ in range(5):
        yield Call(predict, image, "image/png")
    yield Call(predict, png(1000), "image/png")
    yield Call(predict, form, "multipart/form-data; boundary=x")
    yield Call(predict, array.getvalue(), "application/x-npy")
    for path, document in (
        (f"/v1/models/{model}:predict", {"instances": pixels.tolist()}),
        (f"/v2/models/{model}/infer", {"inputs": [infer]}),
    ):
        yield Call(path, json.dumps(document).encode(), "application/json")
    yield Call(predict, image[:-40], "image/png", 400)
    yield Call("/predict/no-such-model", image, "image/png", 404)


class Load:
    """Callers that send requests at a fixed rate, each over one connection."""

    def __init__(self, url: str, calls: Sequence[Call], rate: float, callers: int) -> None:
        self._url, self._rate, self._callers = url, rate, callers
        self._turns = zip(itertools.count(), itertools.cycle(calls), strict=False)
        self._lock, self._done = threading.Lock(), threading.Event()
        self._latencies: list[float] = []
        self._errors = 0

    def samples(self, pid: int, minutes: float) -> Iterator[Sample]:
        """Apply the load for some minutes to a process and its descendants."""
        threads = [threading.Thread(target=self._run) for _ in range(self._callers)]
        self._start = time.monotonic()
        for thread in threads:
            thread.start()
        try:
            for number in itertools.count(1):
                if number * _EVERY_S > minutes * 60:
                    return
                self._done.wait(self._start + number * _EVERY_S - time.monotonic())
                yield self._sample(pid)
        finally:
            self._done.set()
            for thread in threads:
                thread.join()

    def _sample(self, pid: int) -> Sample:
        with self._lock:
            latencies, self._latencies = sorted(self._latencies) or [0.0], []
            errors, self._errors = self._errors, 0
        pids = list(tree(pid))
        return Sample(
            round((time.monotonic() - self._start) / 60, 2),
            len(latencies),
            errors,
            round(1000 * statistics.median(latencies), 2),
            round(1000 * latencies[int(len(latencies) * 0.99)], 2),
            round(sum(map(_rss, pids)) / MIB, 1),
            round(sum(map(pss, pids)) / MIB, 1),
            sum(len(os.listdir(f"/proc/{each}/fd")) for each in pids),
            sum(len(os.listdir(f"/proc/{each}/task")) for each in pids),
        )

    def _run(self) -> None:
        with requests.Session() as session:
            while True:
                with self._lock:
                    turn, call = next(self._turns)
                if self._done.wait(self._start + turn / self._rate - time.monotonic()):
                    return
                began = time.monotonic()
                try:
                    response = session.post(
                        self._url + call.path,
                        call.body,
                        headers={"Content-Type": call.content_type},
                        timeout=60,
                    )
                    right = response.status_code == call.status
                except requests.RequestException:
                    right = False
                with self._lock:
                    self._latencies.append(time.monotonic() - began)
                    self._errors += not right


@contextmanager
def _serving(models: Path, log: Path) -> Iterator[tuple[str, int]]:
    """`rockstar serve` on free ports; its URL and process id."""
    command = [sys.executable, "-m", "rockstar_cli", "serve", "--json", f"--models={models}"]
    ports = ["--port=0", "--grpc-port=0", "--rest-port=0"]
    with (
        log.open("w") as errors,
        subprocess.Popen([*command, *ports], stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        try:
            line = process.stdout.readline() if process.stdout else b""
            if not line:
                raise click.ClickException(f"rockstar serve did not start: see {log}")
            yield json.loads(line)["http"], process.pid
        finally:
            process.terminate()


def _rss(pid: int) -> int:
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _plot(samples: Sequence[Sample], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    figure, (memory, latency) = pyplot.subplots(2, sharex=True, figsize=(8, 5), layout="tight")
    minutes = [each.minute for each in samples]
    memory.plot(minutes, [each.rss_mb for each in samples], label="RSS")
    memory.plot(minutes, [each.pss_mb for each in samples], label="PSS")
    memory.set(ylabel="MB, all processes", ylim=0)
    memory.legend()
    latency.plot(minutes, [each.p99_ms for each in samples], label="p99")
    latency.plot(minutes, [each.p50_ms for each in samples], label="median")
    latency.set(ylabel="latency, ms", xlabel="minutes", ylim=0)
    latency.legend()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
