"""Measurements: start a system, check it, apply loads, and stop it."""

import http.client
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import TypeVar

import msgspec

from benchmarks.serving import load, probes, processes
from benchmarks.serving.load import Load
from benchmarks.serving.material import Material
from benchmarks.serving.plan import FEW_IMAGES, ONE, Measurement, Workload
from benchmarks.serving.results import MAX_FOREIGN, Cell, Probes, Results, Start, Yardsticks
from benchmarks.serving.systems import HERE, Request, Run, System

READY_TIMEOUT_S = 150.0
_WARM_UP_S, _WARM_UP_CONNECTIONS = 2.0, 16
# How often a load is applied if other processes use the machine.
_ATTEMPTS = 3
_PARTS_TIMEOUT_S = 120.0
T = TypeVar("T", Cell, Yardsticks)
_ROWS = re.compile(r"^rockstar_batch_rows_(sum|count)\{.*\} (\S+)$", re.MULTILINE)


class Runner:
    """Runs measurements and records their results.

    Attributes:
        results: recorded results.
    """

    def __init__(
        self,
        results: Results,
        material: Material,
        logs: Path,
        say: Callable[[str], None],
    ) -> None:
        """Initialize.

        Args:
            results: results to add to.
            material: models and images.
            logs: folder for the systems' output.
            say: function that prints progress.
        """
        self.results = results
        self._material = material
        self._logs = logs
        self._say = say

    def run(self, measurement: Measurement, number: int) -> None:
        """Carry out a measurement; failures are recorded, not raised."""
        try:
            with tempfile.TemporaryDirectory(
                prefix="benchmark-", ignore_cleanup_errors=True
            ) as folder:
                self._run(measurement, Path(folder), number)
        except (probes.NotReadyError, probes.WrongResponseError, load.LoadError, OSError) as error:
            self._fail(f"{measurement.title}, run {number + 1}", error)

    def measure_parts(self, python: Path | None) -> None:
        """Measure LiteRT and the decoder alone, in the environment of any peer."""
        if python is None:
            self.results.failures["the parts alone"] = "no other system was chosen and installed"
            return
        try:
            self.results.yardsticks.append(least_disturbed(lambda: self._parts(python)))
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            self.results.failures["the parts alone"] = str(error.stderr or error)[-500:]

    def _parts(self, python: Path) -> Yardsticks:
        model = self._material.models["litert"] / "cnn" / "1"
        with tempfile.NamedTemporaryFile(suffix=".png") as image:
            image.write(self._material.images[0].png)
            image.flush()
            cpu = processes.cpu()
            finished = subprocess.run(
                [str(python), "alone.py", image.name, "2", str(self.results.seconds)],
                cwd=HERE / "peers" / "shared",
                env={**os.environ, "BENCHMARK_MODEL": str(model), "BENCHMARK_ENGINE": "litert"},
                capture_output=True,
                check=True,
                timeout=_PARTS_TIMEOUT_S,
            )
        found = msgspec.json.decode(finished.stdout, type=Yardsticks)
        return msgspec.structs.replace(found, foreign=(processes.cpu() - cpu).foreign)

    def _run(self, measurement: Measurement, folder: Path, number: int) -> None:
        system, images = measurement.system, self._material.images
        port, *spare = processes.free_ports(3)
        run = Run(
            python=measurement.python,
            models=self._material.models[measurement.engine],
            model=measurement.model,
            engine=measurement.engine,
            port=port,
            spare_ports=(spare[0], spare[1]),
            folder=folder,
            workers=measurement.workers,
        )
        variables = {
            **system.environment(run),
            "PATH": f"{measurement.python.parent}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        working_folder = HERE / "peers" / system.peer if system.peer else folder
        log = self._logs / f"{system.name}-{measurement.engine}.log"
        started = time.perf_counter()
        with processes.started(system.command(run), working_folder, variables, log) as process:
            first = system.request(run, "png", images[:1])
            probes.wait_until_ready(
                system, port, first, lambda: process.poll() is None, READY_TIMEOUT_S
            )
            seconds = time.perf_counter() - started
            rest = processes.memory()
            labels = self._material.labels[measurement.model]
            probes.check(system, run, images[:FEW_IMAGES], labels)
            self._apply(ONE, system, run, _WARM_UP_CONNECTIONS, _WARM_UP_S)
            for workload, connections in measurement.loads:
                try:
                    self._load(measurement, run, workload, connections, number)
                except load.LoadError as error:
                    what = f"{measurement.title}, {workload.name} × {connections}, run {number + 1}"
                    self._fail(what, error)
            self.results.starts.append(
                Start(
                    system=system.name,
                    engine=measurement.engine,
                    model=measurement.model,
                    workers=measurement.workers,
                    run=number,
                    seconds=seconds,
                    rest=rest,
                    loaded=processes.memory(),
                )
            )

    def _fail(self, what: str, error: Exception) -> None:
        self.results.failures[what] = str(error)
        self._say(f"  FAILED: {what}: {error}")

    def _load(
        self, measurement: Measurement, run: Run, workload: Workload, connections: int, number: int
    ) -> None:
        """Apply a load and record its results."""
        best = least_disturbed(
            lambda: self._measure(measurement, run, workload, connections, number)
        )
        self.results.cells.append(best)
        found = best.load
        self._say(
            f"  {measurement.title}: {workload.name} × {connections}: {found.good_rate:.0f}/s, "
            f"p50 {found.p50_ms:.1f} ms, p99 {found.p99_ms:.1f} ms, {found.errors} errors, "
            f"foreign CPU {100 * best.foreign:.0f} %"
        )

    def _measure(
        self, measurement: Measurement, run: Run, workload: Workload, connections: int, number: int
    ) -> Cell:
        system = measurement.system
        probed: AbstractContextManager[Callable[[], Probes | None]] = nullcontext(lambda: None)
        if workload.probe:
            one = system.request(run, "png", self._material.images[:1])
            livez = Request("/livez", "text/plain", b"", method="GET")
            probed = probes.probes(run.port, livez if workload.probe == "livez" else one)
        batches, cpu = _batches(system, run), processes.cpu()
        with probed as probe_results:
            found = self._apply(workload, system, run, connections, self.results.seconds)
            used = processes.cpu() - cpu
        examples, calls = (
            after - before for after, before in zip(_batches(system, run), batches, strict=True)
        )
        return Cell(
            system=system.name,
            engine=measurement.engine,
            workload=workload.name,
            connections=connections,
            workers=measurement.workers,
            run=number,
            load=found,
            cpu_seconds=used.system,
            foreign=used.foreign,
            batch=examples / calls if calls else None,
            probes=probe_results(),
        )

    def _apply(
        self, workload: Workload, system: System, run: Run, connections: int, seconds: float
    ) -> Load:
        images = self._material.images
        pngs = [image.png for image in images[:FEW_IMAGES]]
        requests: Sequence[Request] = workload.requests(system, run, images)
        if workload.generator == "client":
            return load.client_load(run.port, run.model, pngs, connections, seconds)
        if workload.generator == "curl":
            return load.curl_load(run.port, requests[0].path, pngs, connections, seconds)
        if system.protocol == "http":
            return load.http_load(
                run.port, requests, connections, seconds, workload.pace, workload.varied
            )
        _, response = probes.send(system, run.port, requests[0])
        return load.grpc_load(run.port, requests[0], connections, seconds, len(response) + 5)


def least_disturbed(measure: Callable[[], T]) -> T:
    """Measure, again if other processes use the machine; returns the least disturbed results."""
    found: list[T] = []
    while len(found) < _ATTEMPTS and not any(each.foreign <= MAX_FOREIGN for each in found):
        found.append(measure())
    return min(found, key=lambda each: each.foreign)


def _batches(system: System, run: Run) -> tuple[float, float]:
    """Numbers of examples and of batches so far; zeros if the system does not count them."""
    if not system.is_gateway:
        return 0.0, 0.0
    with closing(http.client.HTTPConnection("127.0.0.1", run.port, timeout=10)) as connection:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    totals = {"sum": 0.0, "count": 0.0}
    for name, value in _ROWS.findall(text):
        totals[name] += float(value)
    return totals["sum"], totals["count"]
