"""Measurements: start a system, check it, apply loads, and stop it."""

import http.client
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving import load, probes, processes
from benchmarks.serving.load import Load
from benchmarks.serving.material import Material
from benchmarks.serving.results import Cell, Results, Start
from benchmarks.serving.system import Engine, Model, Request, Run, System, peer_folder
from benchmarks.serving.workloads import ONE, OVERLOAD, Workload

READY_TIMEOUT_S = 150.0
_WARM_UP_S, _WARM_UP_CONNECTIONS = 2.0, 16
_ROWS = re.compile(r"^rockstar_batch_rows_(sum|count)\{.*\} (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Measurement:
    """The loads on a system between its start and its stop.

    Attributes:
        system: measured system.
        python: Python of its environment.
        engine: engine that runs the model.
        model: name of the model.
        loads: workloads and numbers of connections.
        workers: number of the system's workers.
        overload: whether to overload it at the end.
    """

    system: System
    python: Path
    engine: Engine
    model: Model
    loads: tuple[tuple[Workload, int], ...]
    workers: int = 2
    overload: bool = False

    @property
    def title(self) -> str:
        """Description for progress and failures."""
        workers = "" if self.workers == 2 else f", workers={self.workers}"
        return f"{self.system.name} ({self.model}, {self.engine}{workers})"


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
        """Run a measurement in a round; the results record a failure."""
        try:
            self._run(measurement, number)
        except (probes.NotReadyError, probes.WrongResponseError, load.LoadError, OSError) as error:
            self.results.failures[f"{measurement.title}, round {number + 1}"] = str(error)
            self._say(f"  {measurement.title}: FAILED: {error}")

    def _run(self, measurement: Measurement, number: int) -> None:
        system = measurement.system
        with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as folder:
            port, *spare = processes.free_ports(3)
            models = self._material.models[measurement.engine]
            run = Run(
                python=measurement.python,
                models=models,
                model=measurement.model,
                engine=measurement.engine,
                port=port,
                spare_ports=(spare[0], spare[1]),
                folder=Path(folder),
                workers=measurement.workers,
            )
            working_folder = peer_folder(system.peer) if system.peer else Path(folder)
            path = f"{measurement.python.parent}:/usr/local/bin:/usr/bin:/bin"
            variables = {**system.variables(run), "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
            log = self._logs / f"{system.name}-{measurement.engine}.log"
            started = time.perf_counter()
            command = system.command(run)
            with processes.started(command, working_folder, variables, log) as process:
                first = system.request(run, "png", self._material.images[:1])
                probes.wait_until_ready(
                    system, port, first, lambda: process.poll() is None, READY_TIMEOUT_S
                )
                seconds = time.perf_counter() - started
                rest = processes.memory()
                labels = self._material.labels[measurement.model]
                probes.check(system, run, self._material.images, labels)
                self._loads(measurement, run, number)
                self.results.starts.append(
                    Start(
                        system=system.name,
                        engine=measurement.engine,
                        model=measurement.model,
                        workers=measurement.workers,
                        round=number,
                        seconds=seconds,
                        rest=rest,
                        loaded=processes.memory(),
                    )
                )
                if measurement.overload:
                    self._overload(measurement, run, number)

    def _loads(self, measurement: Measurement, run: Run, number: int) -> None:
        requests = ONE.requests(measurement.system, run, self._material.images)
        self._apply(measurement.system, run, requests, _WARM_UP_CONNECTIONS, _WARM_UP_S)
        for workload, connections in measurement.loads:
            self._load(measurement, run, workload, connections, number)

    def _load(
        self, measurement: Measurement, run: Run, workload: Workload, connections: int, number: int
    ) -> None:
        system, seconds = measurement.system, self.results.seconds
        requests = workload.requests(system, run, self._material.images)
        before, cpu = _batches(system, run), processes.cpu_seconds()
        found = self._apply(system, run, requests, connections, seconds, workload.pace)
        cpu, after = processes.cpu_seconds() - cpu, _batches(system, run)
        calls = after[1] - before[1]
        self.results.cells.append(
            Cell(
                system=system.name,
                engine=measurement.engine,
                workload=workload.name,
                connections=connections,
                workers=measurement.workers,
                round=number,
                load=found,
                cpu_seconds=cpu,
                batch=(after[0] - before[0]) / calls if calls else None,
            )
        )
        errors = found.status_errors + found.socket_errors + found.timeouts
        self._say(
            f"  {measurement.title}: {workload.name} × {connections}: {found.good_rate:.0f}/s, "
            f"p50 {found.p50_ms:.1f} ms, p99 {found.p99_ms:.1f} ms"
            + (f", {errors} errors" if errors else "")
        )

    def _overload(self, measurement: Measurement, run: Run, number: int) -> None:
        request = measurement.system.request(run, "png", self._material.images[:1])
        with probes.probes(run.port, request) as results:
            self._load(measurement, run, ONE, OVERLOAD, number)
            self.results.refusals.append(results())

    def _apply(
        self,
        system: System,
        run: Run,
        requests: Sequence[Request],
        connections: int,
        seconds: float,
        pace: str = "",
    ) -> Load:
        if system.protocol == "http":
            return load.http_load(run.port, requests, connections, seconds, pace)
        _, response = probes.send(system, run.port, requests[0])
        return load.grpc_load(run.port, requests[0], connections, seconds, len(response) + 5)


def _batches(system: System, run: Run) -> tuple[float, float]:
    """Numbers of examples and of batches so far; zeros if the system does not count them."""
    if system.role != "ours" or system.protocol != "http":
        return 0.0, 0.0
    with closing(http.client.HTTPConnection("127.0.0.1", run.port, timeout=10)) as connection:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    totals = {"sum": 0.0, "count": 0.0}
    for name, value in _ROWS.findall(text):
        totals[name] += float(value)
    return totals["sum"], totals["count"]
