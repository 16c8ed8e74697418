"""Which visits a run makes, in an order that hits all systems alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.system import Engine, Model, System
from benchmarks.serving.visits import Visit
from benchmarks.serving.workloads import LOGISTIC, ONE, OTHERS, Workload

# With TensorFlow as the engine: one PNG at these.
_TENSORFLOW_CONNECTIONS = (16, 64)


@dataclass(frozen=True)
class Choice:
    """What is measured.

    Attributes:
        systems: with LiteRT.
        workloads: names.
        connections: for one PNG.
        tensorflow: whether also with TensorFlow.
        curves: whether also with one gateway worker, and overloaded.
        together: whether a system is started once a round for all of the CNN's work.
    """

    systems: tuple[System, ...]
    workloads: tuple[str, ...]
    connections: tuple[int, ...]
    tensorflow: bool
    curves: bool
    together: bool

    @property
    def engines(self) -> tuple[Engine, ...]:
        """What runs models."""
        return ("litert", "tensorflow") if self.tensorflow else ("litert",)


def round_of_visits(
    choice: Choice, pythons: dict[tuple[str, Engine], Path], number: int
) -> list[Visit]:
    """The visits of a round: work load by work load, and for each all systems in turn.

    Args:
        choice: what is measured.
        pythons: by system and engine; a system without one is left out.
        number: of the round, from 0; each begins with another system.
    """
    turn = number % max(1, len(choice.systems))
    systems = (*choice.systems[turn:], *choice.systems[:turn])
    one = tuple((ONE, each) for each in choice.connections) if ONE.name in choice.workloads else ()
    others = _loads(choice, OTHERS)
    groups = [one + others] if choice.together else [one, others]
    found = []
    for position, loads in enumerate(groups):
        found += _visits(systems, pythons, "litert", "cnn", loads, choice.curves and not position)
    found += _visits(systems, pythons, "litert", "logistic", _loads(choice, (LOGISTIC,)))
    if choice.curves and one:
        found += [
            Visit(system, pythons[system.name, "litert"], "litert", "cnn", one, workers=1)
            for system in systems
            if _has_gateway(system) and (system.name, "litert") in pythons
        ]
    if choice.tensorflow and one:
        few = tuple((ONE, each) for each in _TENSORFLOW_CONNECTIONS)
        found += _visits(systems, pythons, "tensorflow", "cnn", few)
    return found


def _loads(choice: Choice, workloads: Sequence[Workload]) -> tuple[tuple[Workload, int], ...]:
    return tuple(
        (workload, connections)
        for workload in workloads
        if workload.name in choice.workloads
        for connections in workload.connections
    )


def _visits(
    systems: Sequence[System],
    pythons: dict[tuple[str, Engine], Path],
    engine: Engine,
    model: Model,
    loads: tuple[tuple[Workload, int], ...],
    overload: bool = False,
) -> list[Visit]:
    found = []
    for system in systems:
        fitting = tuple(each for each in loads if each[0].fits(system))
        if fitting and (system.name, engine) in pythons:
            python = pythons[system.name, engine]
            overloaded = overload and _has_gateway(system)
            found.append(Visit(system, python, engine, model, fitting, overload=overloaded))
    return found


def _has_gateway(system: System) -> bool:
    return system.role == "ours" and system.protocol == "http"
