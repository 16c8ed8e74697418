"""Serving benchmarks: RockstarTF and alternatives.

    python -m benchmarks.serving [--quick] [--systems rockstar,fastapi] …

Writes results.json, table.md, speed.png and each system's log to <output>/<time>. Needs Linux, wrk
and h2load.
"""

import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from benchmarks.serving import environments, load, processes
from benchmarks.serving.material import Material, gather, train_missing
from benchmarks.serving.measurements import Runner
from benchmarks.serving.plan import Choice, plan_round
from benchmarks.serving.plot import plot
from benchmarks.serving.report import markdown
from benchmarks.serving.results import Results, Yardsticks
from benchmarks.serving.summary import Summary
from benchmarks.serving.system import Engine, peer_folder
from benchmarks.serving.systems import SYSTEMS
from benchmarks.serving.workloads import WORKLOADS
from rockstar_training.errors import DataError

_YARDSTICK_TIMEOUT_S = 120.0
Pythons = dict[tuple[str, Engine], Path]


@click.command()
@click.option("--systems", default=",".join(SYSTEMS), help="Names, separated by commas.")
@click.option("--workloads", default=",".join(WORKLOADS), help="Names, separated by commas.")
@click.option("--connections", default="1,4,16,64", help="Numbers of connections for one PNG.")
@click.option("--rounds", default=3, type=click.IntRange(1))
@click.option("--seconds", default=4.0, type=click.FloatRange(1), help="Duration of each load.")
@click.option("--tensorflow/--no-tensorflow", default=True, help="Measure that engine too.")
@click.option("--curves/--no-curves", default=True, help="Measure one worker and overload too.")
@click.option("--quick", is_flag=True, help="One round of 2 s; 1, 16, 64 connections; LiteRT only.")
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
    help="Folder of models/; missing models are trained.",
)
@click.option("--output", default="build/bench/results", type=click.Path(path_type=Path))
@click.option("--set-up-only", is_flag=True, help="Install and train, measure nothing.")
def main(**options: Any) -> None:
    """Measure, and write the results as JSON, Markdown and a plot."""
    if options["quick"]:
        options |= {"rounds": 1, "seconds": 2.0, "connections": "1,16,64", "tensorflow": False}
    choice = _choice(options)
    if missing := load.missing_tools():
        what = ", ".join(f"{tool} ({package})" for tool, package in missing.items())
        raise click.ClickException(f"not installed: {what}; on Debian, apt-get install them")
    # Stop all processes on SIGTERM, as on Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    processes.adopt_orphans()
    workdir = options["workdir"].resolve()
    train_missing(workdir)
    try:
        material = gather(workdir)
    except DataError as error:
        raise click.ClickException(str(error)) from error
    results = Results(
        machine=_machine(),
        when=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        rounds=options["rounds"],
        seconds=options["seconds"],
        images=environments.image_sizes(),
    )
    pythons = _install(choice, options["folder"], results)
    if options["set_up_only"]:
        return
    output = options["output"] / f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    output.mkdir(parents=True)
    _measure(choice, pythons, material, results, output.resolve())
    click.echo((output / "table.md").read_text())
    click.echo(f"{output}/results.json, table.md, speed.png")


def _choice(options: dict[str, Any]) -> Choice:
    names, workloads = options["systems"].split(","), options["workloads"].split(",")
    for given, known, option in ((names, SYSTEMS, "systems"), (workloads, WORKLOADS, "workloads")):
        if unknown := set(given) - set(known):
            raise click.BadParameter(
                f"unknown: {', '.join(sorted(unknown))}; expected some of {', '.join(known)}",
                param_hint=f"--{option}",
            )
    try:
        connections = tuple(int(each) for each in options["connections"].split(","))
    except ValueError:
        connections = ()
    if not connections or min(connections) < 1:
        raise click.BadParameter("expected numbers such as 1,16,64", param_hint="--connections")
    return Choice(
        systems=tuple(SYSTEMS[name] for name in names),
        workloads=tuple(workloads),
        connections=connections,
        tensorflow=options["tensorflow"],
        curves=options["curves"],
        together=options["quick"],
    )


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
                environment_pythons[name] = _prepare(folder, name, results, system.name, engine)
            python = environment_pythons[name]
            if python:
                pythons[system.name, engine] = python
    return pythons


def _prepare(folder: Path, name: str, results: Results, system: str, engine: Engine) -> Path | None:
    try:
        python = environments.prepare(folder, SYSTEMS[system], engine, click.echo)
    except environments.EnvironmentFailed as error:
        click.echo(f"FAILED: {error}")
        results.failures[f"environment {name}"] = str(error)
        return None
    results.installed[name] = environments.installed(python, SYSTEMS[system])
    return python


def _measure(
    choice: Choice, pythons: Pythons, material: Material, results: Results, output: Path
) -> None:
    runner = Runner(results, material, output, click.echo)
    started = time.monotonic()
    for number in range(results.rounds):
        measurements = plan_round(choice, pythons, number)
        for position, measurement in enumerate(measurements, start=1):
            minutes = (time.monotonic() - started) / 60
            click.echo(
                f"round {number + 1} of {results.rounds}, {position} of {len(measurements)}, "
                f"{minutes:.1f} min: {measurement.title}"
            )
            runner.run(measurement, number)
        _yardsticks(pythons, material, results)
        # After each round, in case the rest is interrupted.
        _write(results, output)


def _yardsticks(pythons: Pythons, material: Material, results: Results) -> None:
    """Measure LiteRT and the decoder alone, in bare Flask's environment."""
    python = pythons.get(("flask", "litert"))
    if python is None:
        results.failures["the parts alone"] = "bare Flask's environment is missing"
        return
    folder = peer_folder("shared")
    variables = {
        "BENCHMARK_MODEL": str(material.models["litert"] / "cnn" / "1"),
        "BENCHMARK_ENGINE": "litert",
    }
    with tempfile.NamedTemporaryFile(suffix=".png") as image:
        image.write(material.images[0].png)
        image.flush()
        command = [str(python), "alone.py", image.name, "2", str(results.seconds)]
        try:
            finished = subprocess.run(
                command,
                cwd=folder,
                env={**os.environ, **variables},
                capture_output=True,
                check=True,
                timeout=_YARDSTICK_TIMEOUT_S,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            results.failures["the parts alone"] = str(error.stderr or error)[-500:]
            return
    results.yardsticks.append(msgspec.json.decode(finished.stdout, type=Yardsticks))


def _write(results: Results, output: Path) -> None:
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
