"""Results of a run, as in results.json."""

import msgspec

from benchmarks.serving.load import Load
from benchmarks.serving.processes import Memory


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One load on one system in one round.

    Attributes:
        system: name of the system.
        engine: engine that ran the model.
        workload: name of the workload.
        connections: number of connections.
        workers: number of the system's workers.
        round: round, from 0.
        load: results of the load generator.
        cpu_seconds: CPU time of all processes of the system during the load.
        batch: mean batch size, if the system counts it.
    """

    system: str
    engine: str
    workload: str
    connections: int
    workers: int
    round: int
    load: Load
    cpu_seconds: float
    batch: float | None = None


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """One start of a system.

    Attributes:
        system: name of the system.
        engine: engine that ran the model.
        model: name of the model.
        workers: number of the system's workers.
        round: round, from 0.
        seconds: time from the start of the process to the first good response.
        rest: memory after the first good response.
        loaded: memory after the last load.
    """

    system: str
    engine: str
    model: str
    workers: int
    round: int
    seconds: float
    rest: Memory
    loaded: Memory


class Yardsticks(msgspec.Struct, frozen=True, kw_only=True):
    """Cost of the parts alone, in one round.

    Attributes:
        decode_ms: time to decode a PNG.
        one_ms: time of the CNN in LiteRT for a batch of one, on one core.
        batch_ms: time of the CNN in LiteRT for a batch of 32, on one core.
        images_per_second: throughput of LiteRT with batches of 32, one process per worker.
    """

    decode_ms: float
    one_ms: float
    batch_ms: float
    images_per_second: float


class Refusals(msgspec.Struct, frozen=True, kw_only=True):
    """Results of the probing clients while a system was overloaded.

    Attributes:
        answered_ms: latencies of good responses.
        refused_ms: latencies of responses with status 429.
        other: number of requests with any other result.
    """

    answered_ms: tuple[float, ...]
    refused_ms: tuple[float, ...]
    other: int


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """Size of a system's environment in MB, and the system's version."""

    megabytes: float
    version: str


class Results(msgspec.Struct, kw_only=True):
    """All results.

    Attributes:
        machine: description of cores, memory and operating system.
        when: date and time, UTC.
        rounds: number of rounds.
        seconds: duration of each load.
        cells: results of every load.
        starts: results of every start.
        yardsticks: costs of the parts in each round.
        refusals: results of probing under overload in each round.
        installed: size and version by environment.
        images: sizes in MB of this project's container images by name.
        failures: reasons for missing measurements.
    """

    machine: str
    when: str
    rounds: int
    seconds: float
    cells: list[Cell] = []
    starts: list[Start] = []
    yardsticks: list[Yardsticks] = []
    refusals: list[Refusals] = []
    installed: dict[str, Installed] = {}
    images: dict[str, float] = {}
    failures: dict[str, str] = {}
