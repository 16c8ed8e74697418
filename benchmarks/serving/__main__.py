"""Serving benchmarks: RockstarTF and alternatives.

    python -m benchmarks.serving [--quick] [--systems rockstar,fastapi] …

Writes results.json, table.md, speed.png and each system's log to <output>/<time>. Needs Linux, wrk,
curl, and for gRPC h2load.
"""

import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from benchmarks.serving import environments, load, processes
from benchmarks.serving.material import Material, gather, make_missing_models
from benchmarks.serving.measurements import Runner
from benchmarks.serving.plan import WORKLOADS, Choice, plan_run
from benchmarks.serving.report import markdown, plot
from benchmarks.serving.results import Results, Summary
from benchmarks.serving.systems import SYSTEMS, Engine, System
from rockstar_training.errors import DataError

Pythons = dict[tuple[str, Engine], Path]
T = TypeVar("T")


def _named(
    known: Mapping[str, T],
) -> Callable[[click.Context, click.Parameter, str], tuple[T, ...]]:
    """Callback that looks up names separated by commas."""

    def look_up(context: click.Context, parameter: click.Parameter, value: str) -> tuple[T, ...]:
        names = value.split(",")
        if unknown := sorted(set(names) - set(known)):
            expected = ", ".join(known)
            raise click.BadParameter(
                f"unknown: {', '.join(unknown)}; expected some of {expected}", context, parameter
            )
        return tuple(known[name] for name in names)

    return look_up


def _numbers(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    numbers = value.split(",")
    if not all(each.isdecimal() and int(each) for each in numbers):
        raise click.BadParameter("expected numbers such as 1,16,64", context, parameter)
    return tuple(map(int, numbers))


@click.command()
@click.option(
    "--systems",
    default=",".join(SYSTEMS),
    callback=_named(SYSTEMS),
    help="Names, separated by commas.",
)
@click.option(
    "--workloads",
    default=",".join(WORKLOADS),
    callback=_named(WORKLOADS),
    help="Names, separated by commas.",
)
@click.option(
    "--connections",
    default="1,4,16,64",
    callback=_numbers,
    help="Numbers of connections for one PNG.",
)
@click.option("--runs", default=3, type=click.IntRange(1))
@click.option("--seconds", default=4.0, type=click.FloatRange(1), help="Duration of each load.")
@click.option("--tensorflow", is_flag=True, help="Measure that engine too.")
@click.option("--one-worker", is_flag=True, help="Measure the gateway with one worker too.")
@click.option("--quick", is_flag=True, help="One run of 2 s with 1, 16 and 64 connections.")
@click.option(
    "--environments",
    "folder",
    default="build/bench/environments",
    type=click.Path(path_type=Path),
    help="Folder for each system's environment.",
)
@click.option(
    "--material",
    "workdir",
    default="build/bench/material",
    type=click.Path(path_type=Path),
    help="Folder of models/; missing models are made.",
)
@click.option("--output", default="build/bench/results", type=click.Path(path_type=Path))
@click.option("--set-up-only", is_flag=True, help="Install and make models, measure nothing.")
def main(**options: Any) -> None:
    """Measure, and write the results as JSON, Markdown and a plot."""
    if options["quick"]:
        options |= {"runs": 1, "seconds": 2.0, "connections": (1, 16, 64)}
    choice = Choice(
        systems=options["systems"],
        workloads=options["workloads"],
        connections=options["connections"],
        engines=("litert", "tensorflow") if options["tensorflow"] else ("litert",),
        one_worker=options["one_worker"],
    )
    # Stop all processes on SIGTERM, as on Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    processes.adopt_orphans()
    workdir = options["workdir"].resolve()
    over_grpc = any(system.protocol == "grpc" for system in choice.systems)
    try:
        load.require_tools("wrk", "curl", *(["h2load"] if over_grpc else []))
        make_missing_models(workdir)
        material = gather(workdir)
    except (load.LoadError, DataError) as error:
        raise click.ClickException(str(error)) from error
    results = Results(
        machine=_machine(),
        when=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        runs=options["runs"],
        seconds=options["seconds"],
    )
    pythons = _install(choice, options["folder"], results)
    if options["set_up_only"]:
        return
    output = options["output"] / f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    output.mkdir(parents=True)
    _measure(choice, pythons, material, results, output.resolve())
    click.echo((output / "table.md").read_text())
    click.echo(f"{output}/results.json, table.md, speed.png")


def _install(choice: Choice, folder: Path, results: Results) -> Pythons:
    """Install environments, by system and engine; results record failures."""
    pythons: Pythons = {}
    environment_pythons: dict[str, Path | None] = {}
    for system in choice.systems:
        for engine in choice.engines:
            if engine not in system.engines:
                continue
            name = environments.environment_name(system, engine)
            if name not in environment_pythons:
                environment_pythons[name] = _prepare(folder, name, results, system, engine)
            if python := environment_pythons[name]:
                pythons[system.name, engine] = python
    return pythons


def _prepare(
    folder: Path, name: str, results: Results, system: System, engine: Engine
) -> Path | None:
    try:
        python = environments.prepare(folder, system, engine, click.echo)
    except environments.EnvironmentFailed as error:
        click.echo(f"FAILED: {error}")
        results.failures[f"environment {name}"] = str(error)
        return None
    results.installed[name] = environments.installed(python, system)
    return python


def _measure(
    choice: Choice, pythons: Pythons, material: Material, results: Results, output: Path
) -> None:
    runner = Runner(results, material, output, click.echo)
    started = time.monotonic()
    for number in range(results.runs):
        measurements = plan_run(choice, pythons, number)
        for position, measurement in enumerate(measurements, start=1):
            minutes = (time.monotonic() - started) / 60
            click.echo(
                f"run {number + 1} of {results.runs}, {position} of {len(measurements)}, "
                f"{minutes:.1f} min: {measurement.title}"
            )
            runner.run(measurement, number)
        runner.measure_parts(next((pythons[key] for key in pythons if SYSTEMS[key[0]].peer), None))
        # After each run, in case the rest is interrupted.
        summary = Summary(results)
        (output / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(results)))
        (output / "table.md").write_text(markdown(summary))
        plot(summary, output / "speed.png")


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{cores} cores ({model}), {memory:.0f} GiB, {platform.system()} {platform.release()}"


if __name__ == "__main__":
    main()
