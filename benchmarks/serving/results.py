"""What a run of the benchmark found, as it is written to results.json."""

import msgspec

from benchmarks.serving.load import Load
from benchmarks.serving.processes import Memory


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One load on one system in one round.

    Attributes:
        system: its name.
        engine: that ran the model.
        workload: its name.
        connections: at a time.
        workers: of the system.
        round: number, from 0.
        load: what came of it.
        cpu_seconds: that all processes of the system took meanwhile.
        batch: mean examples in one call of the model, where the system counts that.
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
        system: its name.
        engine: that ran the model.
        model: that was asked.
        workers: of the system.
        round: number, from 0.
        seconds: from the start of the process to the first good answer.
        rest: memory after it.
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
    """What the parts cost alone, in one round.

    Attributes:
        decode_ms: a PNG to pixels.
        one_ms: the CNN in LiteRT, a batch of one on one core.
        batch_ms: a batch of 32, likewise.
        images_per_second: LiteRT in batches of 32, in as many processes as there are workers.
    """

    decode_ms: float
    one_ms: float
    batch_ms: float
    images_per_second: float


class Refusals(msgspec.Struct, frozen=True, kw_only=True):
    """What a few more callers saw while a system had more than it could hold.

    Attributes:
        answered_ms: latencies of its good answers.
        refused_ms: latencies of its answers 429.
        other: its requests that ended otherwise.
    """

    answered_ms: tuple[float, ...]
    refused_ms: tuple[float, ...]
    other: int


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """A system's environment: its size in MB, and the version that matters."""

    megabytes: float
    version: str


class Results(msgspec.Struct, kw_only=True):
    """All of it.

    Attributes:
        machine: cores, memory, system, in words.
        when: date and time, UTC.
        rounds: of each load.
        seconds: of each load.
        cells: every load.
        starts: every start.
        yardsticks: of each round.
        refusals: of each round.
        installed: by environment.
        images: container images of this project by name, in MB.
        failures: what could not be measured, and why.
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
