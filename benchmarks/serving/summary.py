"""Results over rounds: medians and their spread."""

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.serving.results import Cell, Results, Start


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
    """CPU seconds for 1,000 predictions; infinite if none succeeded."""
    return 1e3 * cell.cpu_seconds / cell.load.predictions if cell.load.predictions else float("inf")


class Summary:
    """Results over rounds, by system and load."""

    def __init__(self, results: Results) -> None:
        self.results = results

    def of(
        self,
        what: Callable[[Cell], float],
        system: str,
        workload: str,
        connections: int,
        *,
        engine: str = "litert",
        workers: int = 2,
    ) -> Spread | None:
        """Spread over the rounds of a load; None if it was not measured."""
        wanted = (system, workload, connections, engine, workers)
        return spread(
            what(cell)
            for cell in self.results.cells
            if (cell.system, cell.workload, cell.connections, cell.engine, cell.workers) == wanted
        )

    def errors(self, system: str, workload: str, connections: int, engine: str = "litert") -> int:
        """Number of failed requests in all rounds."""
        return sum(
            cell.load.status_errors + cell.load.socket_errors + cell.load.timeouts
            for cell in self.results.cells
            if (cell.system, cell.workload, cell.connections, cell.engine, cell.workers)
            == (system, workload, connections, engine, 2)
        )

    def batch(self, system: str, connections: int, workers: int = 2) -> Spread | None:
        """Mean batch size of LiteRT, with one PNG per request."""
        return spread(
            cell.batch
            for cell in self.results.cells
            if (cell.system, cell.workload, cell.connections, cell.engine, cell.workers)
            == (system, "png", connections, "litert", workers)
            and cell.batch is not None
        )

    def start(
        self, what: Callable[[Start], float], system: str, engine: str = "litert"
    ) -> Spread | None:
        """Spread over the starts with the CNN."""
        return spread(
            what(start)
            for start in self.results.starts
            if (start.system, start.engine, start.model, start.workers)
            == (system, engine, "cnn", 2)
        )

    def connections(self, workload: str, workers: int = 2) -> list[int]:
        """Measured numbers of connections of a workload."""
        return sorted(
            {
                cell.connections
                for cell in self.results.cells
                if (cell.workload, cell.workers) == (workload, workers)
            }
        )

    def measured(self, engine: str = "litert") -> list[str]:
        """Names of the measured systems."""
        return list(dict.fromkeys(c.system for c in self.results.cells if c.engine == engine))
