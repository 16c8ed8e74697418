"""A visit: a system is started, checked, loaded in several ways, and ended."""

import http.client
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving import asking, load, processes
from benchmarks.serving.load import Load
from benchmarks.serving.material import Material
from benchmarks.serving.results import Cell, Refusals, Results, Start
from benchmarks.serving.system import Engine, Model, Request, Run, System, peer_folder
from benchmarks.serving.workloads import ONE, OVERLOAD, Workload

READY_TIMEOUT_S = 150.0
_WARM_UP_S, _WARM_UP_CONNECTIONS = 2.0, 16
_ROWS = re.compile(r"^rockstar_batch_rows_(sum|count)\{.*\} (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Visit:
    """What is done with a system between its start and its end.

    Attributes:
        system: that is visited.
        python: of its environment.
        engine: that runs the model.
        model: that is asked.
        loads: workloads and how many connections.
        workers: of the system.
        overload: whether it is asked for more than it can hold, at the end.
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
        """For the progress."""
        workers = "" if self.workers == 2 else f", workers={self.workers}"
        return f"{self.system.name} ({self.model}, {self.engine}{workers})"


class Visitor:
    """Makes visits and writes down what they find.

    Attributes:
        results: gets it.
    """

    def __init__(
        self,
        results: Results,
        material: Material,
        logs: Path,
        say: Callable[[str], None],
    ) -> None:
        """Prepare.

        Args:
            results: gets what is found.
            material: models and images.
            logs: folder for the systems' output.
            say: told about progress.
        """
        self.results = results
        self._material = material
        self._logs = logs
        self._say = say

    def visit(self, visit: Visit, number: int) -> None:
        """Start, check, load and end a system in a round; a failure is written down."""
        try:
            self._visit(visit, number)
        except (asking.NotReadyError, asking.WrongAnswerError, load.LoadError, OSError) as error:
            self.results.failures[f"{visit.title}, round {number + 1}"] = str(error)
            self._say(f"  {visit.title}: FAILED: {error}")

    def _visit(self, visit: Visit, number: int) -> None:
        system = visit.system
        with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as folder:
            port, *spare = processes.free_ports(3)
            models = self._material.models[visit.engine]
            run = Run(
                *(visit.python, models, visit.model, visit.engine, port, (spare[0], spare[1])),
                *(Path(folder), visit.workers),
            )
            where = peer_folder(system.peer) if system.peer else Path(folder)
            path = f"{visit.python.parent}:/usr/local/bin:/usr/bin:/bin"
            variables = {**system.variables(run), "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
            log = self._logs / f"{system.name}-{visit.engine}.log"
            began = time.perf_counter()
            with processes.started(system.command(run), where, variables, log) as process:
                first = system.request(run, "png", self._material.images[:1])
                asking.wait_until_ready(
                    system, port, first, lambda: process.poll() is None, READY_TIMEOUT_S
                )
                seconds = time.perf_counter() - began
                rest = processes.memory()
                labels = self._material.labels[visit.model]
                asking.check(system, run, self._material.images, labels)
                self._loads(visit, run, number)
                self.results.starts.append(
                    Start(
                        system=system.name,
                        engine=visit.engine,
                        model=visit.model,
                        workers=visit.workers,
                        round=number,
                        seconds=seconds,
                        rest=rest,
                        loaded=processes.memory(),
                    )
                )
                if visit.overload:
                    self._overload(visit, run, number)

    def _loads(self, visit: Visit, run: Run, number: int) -> None:
        warm = ONE.requests(visit.system, run, self._material.images)
        self._put(visit.system, run, warm, _WARM_UP_CONNECTIONS, _WARM_UP_S)
        for workload, connections in visit.loads:
            self._load(visit, run, workload, connections, number)

    def _load(
        self, visit: Visit, run: Run, workload: Workload, connections: int, number: int
    ) -> None:
        system, seconds = visit.system, self.results.seconds
        requests = workload.requests(system, run, self._material.images)
        rows, cpu = _batches(system, run), processes.cpu_seconds()
        found = self._put(system, run, requests, connections, seconds, workload.pace)
        taken, more = processes.cpu_seconds() - cpu, _batches(system, run)
        calls = more[1] - rows[1]
        self.results.cells.append(
            Cell(
                system=system.name,
                engine=visit.engine,
                workload=workload.name,
                connections=connections,
                workers=visit.workers,
                round=number,
                load=found,
                cpu_seconds=taken,
                batch=(more[0] - rows[0]) / calls if calls else None,
            )
        )
        wrong = found.status_errors + found.socket_errors + found.timeouts
        self._say(
            f"  {visit.title}: {workload.name} × {connections}: {found.good_rate:.0f}/s, "
            f"p50 {found.p50_ms:.1f} ms, p99 {found.p99_ms:.1f} ms"
            + (f", {wrong} errors" if wrong else "")
        )

    def _overload(self, visit: Visit, run: Run, number: int) -> None:
        request = visit.system.request(run, "png", self._material.images[:1])
        with asking.more_callers(run.port, request) as seen:
            self._load(visit, run, ONE, OVERLOAD, number)
            refusals: Refusals = seen()
        self.results.refusals.append(refusals)

    def _put(
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
        _, answer = asking.ask(system, run.port, requests[0])
        return load.grpc_load(run.port, requests[0], connections, seconds, len(answer) + 5)


def _batches(system: System, run: Run) -> tuple[float, float]:
    """Examples in all calls of the model so far, and the calls, where a system counts them."""
    if system.role != "ours" or system.protocol != "http":
        return 0.0, 0.0
    with closing(http.client.HTTPConnection("127.0.0.1", run.port, timeout=10)) as connection:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    totals = {"sum": 0.0, "count": 0.0}
    for name, value in _ROWS.findall(text):
        totals[name] += float(value)
    return totals["sum"], totals["count"]
