"""Made-up results of a run."""

from benchmarks.serving.load import Load
from benchmarks.serving.processes import Memory
from benchmarks.serving.results import Cell, Results, Start


def cell(system, rate, *, workload="png", connections=16, p50=10.0, p99=20.0, **changed):
    """A load of one second; each prediction takes a millisecond of the processor."""
    predictions = changed.pop("predictions", rate)
    load = Load(
        requests=rate,
        seconds=1.0,
        status_errors=changed.pop("status_errors", 0),
        p50_ms=p50,
        p90_ms=p50,
        p99_ms=p99,
        max_ms=p99,
        predictions=predictions,
    )
    given = {
        "engine": "litert",
        "workers": 2,
        "run": 0,
        "cpu_seconds": predictions / 1000,
        "foreign": 0.0,
        **changed,
    }
    return Cell(system=system, workload=workload, connections=connections, load=load, **given)


def start(system, seconds, rss=300.0, pss=200.0):
    memory = Memory(rss=rss, pss=pss)
    return Start(
        system=system,
        engine="litert",
        model="cnn",
        workers=2,
        run=0,
        seconds=seconds,
        rest=memory,
        loaded=memory,
    )


def results(cells=(), starts=(), **more):
    return Results(
        machine="2 cores",
        when="today",
        runs=3,
        seconds=1.0,
        cells=list(cells),
        starts=list(starts),
        **more,
    )
