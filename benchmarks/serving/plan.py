"""The measurements of a run, in an order that affects all systems alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.measurements import Measurement
from benchmarks.serving.system import Engine, Model, System
from benchmarks.serving.workloads import LOGISTIC, ONE, OTHERS, Workload

# Connections for one PNG with TensorFlow as the engine.
_TENSORFLOW_CONNECTIONS = (16, 64)


@dataclass(frozen=True)
class Choice:
    """The chosen measurements.

    Attributes:
        systems: systems to measure.
        workloads: names of workloads.
        connections: numbers of connections for one PNG.
        tensorflow: whether to measure TensorFlow as the engine too.
        curves: whether to measure one gateway worker and overload too.
        together: whether to start a system only once per round for all workloads of the CNN.
    """

    systems: tuple[System, ...]
    workloads: tuple[str, ...]
    connections: tuple[int, ...]
    tensorflow: bool
    curves: bool
    together: bool

    @property
    def engines(self) -> tuple[Engine, ...]:
        """Engines to measure."""
        return ("litert", "tensorflow") if self.tensorflow else ("litert",)


def plan_round(
    choice: Choice, pythons: dict[tuple[str, Engine], Path], number: int
) -> list[Measurement]:
    """The measurements of a round: workload by workload, each with all systems in turn.

    Args:
        choice: the chosen measurements.
        pythons: Python of each system and engine; a system without one is skipped.
        number: round, from 0; each begins with a different system.
    """
    turn = number % max(1, len(choice.systems))
    systems = (*choice.systems[turn:], *choice.systems[:turn])
    one = tuple((ONE, each) for each in choice.connections) if ONE.name in choice.workloads else ()
    others = _loads(choice, OTHERS)
    groups = [one + others] if choice.together else [one, others]
    found = []
    for position, loads in enumerate(groups):
        overload = choice.curves and not position
        found += _measurements(systems, pythons, "litert", "cnn", loads, overload)
    found += _measurements(systems, pythons, "litert", "logistic", _loads(choice, (LOGISTIC,)))
    if choice.curves and one:
        found += [
            Measurement(system, pythons[system.name, "litert"], "litert", "cnn", one, workers=1)
            for system in systems
            if _has_gateway(system) and (system.name, "litert") in pythons
        ]
    if choice.tensorflow and one:
        few = tuple((ONE, each) for each in _TENSORFLOW_CONNECTIONS)
        found += _measurements(systems, pythons, "tensorflow", "cnn", few)
    return found


def _loads(choice: Choice, workloads: Sequence[Workload]) -> tuple[tuple[Workload, int], ...]:
    return tuple(
        (workload, connections)
        for workload in workloads
        if workload.name in choice.workloads
        for connections in workload.connections
    )


def _measurements(
    systems: Sequence[System],
    pythons: dict[tuple[str, Engine], Path],
    engine: Engine,
    model: Model,
    loads: tuple[tuple[Workload, int], ...],
    overload: bool = False,
) -> list[Measurement]:
    found = []
    for system in systems:
        fitting = tuple(each for each in loads if each[0].fits(system))
        if fitting and (system.name, engine) in pythons:
            python = pythons[system.name, engine]
            overloaded = overload and _has_gateway(system)
            found.append(Measurement(system, python, engine, model, fitting, overload=overloaded))
    return found


def _has_gateway(system: System) -> bool:
    return system.role == "ours" and system.protocol == "http"
