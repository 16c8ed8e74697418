"""Results of a run, as in results.json, and their medians."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from benchmarks.serving.load import Load
from benchmarks.serving.processes import Memory

# Rows with more CPU used by other processes of the machine are repeated, and marked if it stays.
MAX_FOREIGN = 0.1


class Probes(msgspec.Struct, frozen=True, kw_only=True):
    """Results of the probing clients during a load.

    Attributes:
        good_ms: latencies of good responses.
        rejected_ms: latencies of responses with status 429.
        other: number of requests with any other result.
    """

    good_ms: tuple[float, ...]
    rejected_ms: tuple[float, ...]
    other: int


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One load on one system in one run.

    Attributes:
        system: name of the system.
        engine: engine that ran the model.
        workload: name of the workload.
        connections: number of connections.
        workers: number of the system's workers.
        run: run, from 0.
        load: results of the load generator.
        cpu_seconds: CPU time of all processes of the system during the load.
        foreign: share of the machine's CPU time used by other processes.
        batch: mean batch size, if the system counts it.
        probes: results of other clients, if there were any.
    """

    system: str
    engine: str
    workload: str
    connections: int
    workers: int
    run: int
    load: Load
    cpu_seconds: float
    foreign: float
    batch: float | None = None
    probes: Probes | None = None


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """One start of a system.

    Attributes:
        system: name of the system.
        engine: engine that ran the model.
        model: name of the model.
        workers: number of the system's workers.
        run: run, from 0.
        seconds: time from the start of the process to the first good response.
        rest: memory after the first good response.
        loaded: memory after the last load.
    """

    system: str
    engine: str
    model: str
    workers: int
    run: int
    seconds: float
    rest: Memory
    loaded: Memory


class Yardsticks(msgspec.Struct, frozen=True, kw_only=True):
    """Cost of the parts alone, in one run.

    Attributes:
        decode_ms: time to decode a PNG.
        one_ms: time of the CNN in LiteRT for a batch of one, on one core.
        batch_ms: time of the CNN in LiteRT for a batch of 32, on one core.
        images_per_second: throughput of LiteRT with batches of 32, one process per worker.
        foreign: share of the machine's CPU time used by other processes.
    """

    decode_ms: float
    one_ms: float
    batch_ms: float
    images_per_second: float
    foreign: float = 0.0


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """Size of a system's environment in MB, and the system's version."""

    megabytes: float
    version: str


class Results(msgspec.Struct, kw_only=True):
    """All results.

    Attributes:
        machine: description of cores, memory and operating system.
        when: date and time, UTC.
        runs: number of runs.
        seconds: duration of each load.
        cells: results of every load.
        starts: results of every start.
        yardsticks: costs of the parts in each run.
        installed: size and version by environment.
        failures: reasons for missing measurements.
    """

    machine: str
    when: str
    runs: int
    seconds: float
    cells: list[Cell] = []
    starts: list[Start] = []
    yardsticks: list[Yardsticks] = []
    installed: dict[str, Installed] = {}
    failures: dict[str, str] = {}


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest value."""

    median: float
    low: float
    high: float

    def text(self, digits: int = 0) -> str:
        """Format for tables."""
        if self.low == self.high:
            return f"{self.median:,.{digits}f}"
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f}–{self.high:,.{digits}f})"


def spread(values: Iterable[float]) -> Spread | None:
    """Spread of values; None without values."""
    found = list(values)
    return Spread(statistics.median(found), min(found), max(found)) if found else None


def percentile(values: Iterable[float], percent: int) -> float:
    """The measured value that about so many percent of the values, at least one, do not exceed."""
    found = sorted(values)
    return found[int(percent / 100 * (len(found) - 1))]


def rate(cell: Cell) -> float:
    """Good responses per second."""
    return cell.load.good_rate


def images(cell: Cell) -> float:
    """Predictions per second."""
    return cell.load.predictions / cell.load.seconds


def p50(cell: Cell) -> float:
    """Median latency in ms."""
    return cell.load.p50_ms


def p99(cell: Cell) -> float:
    """99th percentile of the latency in ms."""
    return cell.load.p99_ms


def cost(cell: Cell) -> float:
    """CPU time in ms per prediction (s per 1,000); infinite if none succeeded."""
    return 1e3 * cell.cpu_seconds / cell.load.predictions if cell.load.predictions else float("inf")


class Summary:
    """Results over runs, by system and load."""

    def __init__(self, results: Results) -> None:
        self.results = results

    def cells(
        self,
        system: str,
        workload: str,
        connections: int,
        engine: str = "litert",
        workers: int = 2,
    ) -> list[Cell]:
        """The results of a load in all runs."""
        wanted = (system, workload, connections, engine, workers)
        return [
            cell
            for cell in self.results.cells
            if (cell.system, cell.workload, cell.connections, cell.engine, cell.workers) == wanted
        ]

    def starts(self, system: str, engine: str = "litert") -> list[Start]:
        """The starts with the CNN."""
        wanted = (system, engine, "cnn", 2)
        return [
            start
            for start in self.results.starts
            if (start.system, start.engine, start.model, start.workers) == wanted
        ]

    def probes(self, system: str, workload: str) -> list[Probes]:
        """The results of other clients during a workload."""
        cells, wanted = self.results.cells, (system, workload)
        return [c.probes for c in cells if (c.system, c.workload) == wanted and c.probes]

    def connections(self, workload: str, workers: int = 2) -> list[int]:
        """Measured numbers of connections of a workload."""
        wanted = (workload, workers)
        cells = self.results.cells
        return sorted({c.connections for c in cells if (c.workload, c.workers) == wanted})

    def measured(self, engine: str = "litert") -> list[str]:
        """Names of the measured systems."""
        return list(dict.fromkeys(c.system for c in self.results.cells if c.engine == engine))
