"""Workloads, and the measurements of a run in an order that affects all systems alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.serving.systems import Engine, Image, Kind, Model, Request, Run, System

MANY = 32
# The largest request that the gateway accepts by default.
MOST = 256
# More than the gateway accepts by default, so that it rejects some.
OVERLOAD = 512
# Number of images that requests use in turn.
FEW_IMAGES = 64
MODELS: tuple[Model, ...] = ("cnn", "logistic", "slow")
# Connections for one PNG with TensorFlow as the engine.
_TENSORFLOW_CONNECTIONS = (16, 64)


@dataclass(frozen=True)
class Workload:
    """A kind of traffic.

    Attributes:
        name: name in options and results.
        title: name in tables.
        recipe: kind of request, images per request, and number of such requests in a row.
        connections: numbers of connections; empty for those of the option.
        model: name of the model.
        pace: see load.http_load.
        generator: load generator; `wrk` is h2load for gRPC.
        varied: whether each request has other headers and another image, of all images.
        probe: what other clients request meanwhile: the same, or /livez.
        gateway_only: whether to measure only this project's gateway.
    """

    name: str
    title: str
    recipe: tuple[tuple[Kind, int, int], ...] = (("png", 1, 1),)
    connections: tuple[int, ...] = ()
    model: Model = "cnn"
    pace: str = ""
    generator: Literal["wrk", "client", "curl"] = "wrk"
    varied: bool = False
    probe: Literal["", "same", "livez"] = ""
    gateway_only: bool = False

    def fits(self, system: System) -> bool:
        """Whether a system supports the workload."""
        if system.role == "yardstick" and self is not ONE:
            return False
        if self.gateway_only and not system.is_gateway:
            return False
        over_http = self.pace or self.varied or len(self.recipe) > 1
        if system.protocol == "grpc" and over_http:
            return False
        return {kind for kind, _, _ in self.recipe} <= set(system.kinds)

    def requests(self, system: System, run: Run, images: Sequence[Image]) -> list[Request]:
        """The requests that connections repeat; they use the images in turn."""
        images = images if self.varied else images[:FEW_IMAGES]
        found = []
        at = 0
        # A recipe of a single image is repeated for all images.
        rounds = len(images) if self.recipe[0][1] == 1 and len(self.recipe) == 1 else 1
        for kind, size, count in self.recipe * rounds:
            for _ in range(count):
                chosen = [images[(at + offset) % len(images)] for offset in range(size)]
                found.append(system.request(run, kind, chosen))
                at += size
        return found


ONE = Workload("png", "one PNG")
WORKLOADS = {
    workload.name: workload
    for workload in (
        ONE,
        Workload("varied", "one PNG, other headers each time", connections=(16,), varied=True),
        Workload("png32", "32 PNGs in one request", (("png", MANY, 1),), (4,)),
        Workload("json", "JSON array", (("json", 1, 1),), (16,)),
        Workload(
            "mix",
            "mix: 7 of one PNG, 2 JSON arrays, 1 of 32 PNGs",
            (("png", 1, 4), ("json", 1, 1), ("png", MANY, 1), ("png", 1, 3), ("json", 1, 1)),
            (16,),
        ),
        Workload("steady", "one PNG, steady: 160 per s", connections=(16,), pace="steady 100"),
        Workload(
            "bursty",
            "one PNG, bursty: 32 at once, 5 times per s",
            connections=(32,),
            pace="bursty 200",
        ),
        Workload("logistic", "one PNG, logistic", connections=(16,), model="logistic"),
        Workload("form", "one PNG in a form", (("form", 1, 1),), (16,), gateway_only=True),
        Workload(
            "client",
            "one PNG, HttpClient",
            connections=(4,),
            generator="client",
            gateway_only=True,
        ),
        Workload(
            "curl",
            "one PNG, curl -F",
            (("form", 1, 1),),
            (16,),
            generator="curl",
            gateway_only=True,
        ),
        Workload(
            "livez",
            "256 PNGs in one request, /livez meanwhile",
            (("png", MOST, 1),),
            (1,),
            probe="livez",
            gateway_only=True,
        ),
        Workload(
            "explain",
            "/explain, /livez meanwhile",
            (("explain", 1, 1),),
            (1,),
            probe="livez",
            gateway_only=True,
        ),
        Workload(
            "slow",
            "5 ms per image, /livez meanwhile",
            connections=(16,),
            model="slow",
            probe="livez",
            gateway_only=True,
        ),
        # Last, because of its effect on the others.
        Workload("overload", "overload", connections=(OVERLOAD,), probe="same", gateway_only=True),
    )
}


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
    """

    system: System
    python: Path
    engine: Engine
    model: Model
    loads: tuple[tuple[Workload, int], ...]
    workers: int = 2

    @property
    def title(self) -> str:
        """Description for progress and failures."""
        workers = "" if self.workers == 2 else f", workers={self.workers}"
        return f"{self.system.name} ({self.model}, {self.engine}{workers})"


@dataclass(frozen=True)
class Choice:
    """The chosen measurements.

    Attributes:
        systems: systems to measure.
        workloads: workloads to apply.
        connections: numbers of connections for one PNG.
        engines: engines to measure.
        one_worker: whether to measure the gateway with one worker too.
    """

    systems: tuple[System, ...]
    workloads: tuple[Workload, ...]
    connections: tuple[int, ...]
    engines: tuple[Engine, ...]
    one_worker: bool


def plan_run(
    choice: Choice, pythons: dict[tuple[str, Engine], Path], number: int
) -> list[Measurement]:
    """The measurements of a run: each system is started once per model, engine and worker count.

    Args:
        choice: the chosen measurements.
        pythons: Python of each system and engine; a system without one is skipped.
        number: run, from 0; each begins with a different system.
    """
    turn = number % max(1, len(choice.systems))
    systems = (*choice.systems[turn:], *choice.systems[:turn])
    loads = [
        (workload, connections)
        for workload in choice.workloads
        for connections in workload.connections or choice.connections
    ]
    one = [(workload, connections) for workload, connections in loads if workload is ONE]
    few = [(ONE, connections) for connections in _TENSORFLOW_CONNECTIONS if one]
    groups: list[tuple[Engine, Model, list[tuple[Workload, int]], int]] = [
        *(
            ("litert", model, [each for each in loads if each[0].model == model], 2)
            for model in MODELS
        ),
        ("litert", "cnn", one if choice.one_worker else [], 1),
        ("tensorflow", "cnn", few, 2),
    ]
    return [
        Measurement(system, pythons[system.name, engine], engine, model, fitting, workers)
        for engine, model, wanted, workers in groups
        if engine in choice.engines
        for system in systems
        if (system.name, engine) in pythons and (workers == 2 or system.is_gateway)
        if (fitting := tuple(each for each in wanted if each[0].fits(system)))
    ]
