"""`rockstar bench`."""

import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commandline.exits import Exit
from commandline.options import NumberRange, Service, json_option, model_option, service_options
from commandline.output import echo_json

if TYPE_CHECKING:
    from commandline.load.plan import LoadPlan, Record
    from commandline.load.report import Report

_MOST_SECONDS, _MOST_REQUESTS = 3600, 10_000_000


@click.command(
    epilog="Examples: rockstar bench --model cnn 7.png; "
    "rockstar bench --model cnn --rate 200 --duration 30 7.png; "
    "rockstar bench --grpc 127.0.0.1:8500 --model cnn --connections 4 7.png"
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@model_option("Name of the model.", required=True)
@service_options
@click.option("--version", type=click.IntRange(1), help="Version; else the newest.")
@click.option(
    "--connections", default=16, type=click.IntRange(1, 1000), help="Requests at a time, at most."
)
@click.option(
    "--duration",
    default=10.0,
    metavar="SECONDS",
    type=NumberRange(0, _MOST_SECONDS, min_open=True),
    help="How long to send.",
)
@click.option("--requests", type=click.IntRange(1, _MOST_REQUESTS), help="At most so many.")
@click.option(
    "--rate",
    type=NumberRange(0, min_open=True),
    help="Send so many a second, however slow the answers; latency counts from when each was due.",
)
@click.option(
    "--timeout",
    default=10.0,
    metavar="SECONDS",
    type=NumberRange(0, _MOST_SECONDS, min_open=True),
    help="That an answer may take.",
)
@json_option
def bench(
    files: tuple[Path, ...],
    model: str,
    service: Service,
    version: int | None,
    connections: int,
    duration: float,
    requests: int | None,
    rate: float | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Measure how many requests a running service answers, and how fast.

    Sends FILES in turn, each once before it starts to measure. Without --rate every connection
    sends when it has its answer, which hides how long others would wait while the service stalls.
    """
    from commandline.load.plan import LoadPlan
    from commandline.load.report import report

    if (requests or 0) > _MOST_REQUESTS or (rate or 0) * duration > _MOST_REQUESTS:
        raise click.UsageError(f"--rate × --duration: at most {_MOST_REQUESTS:,} requests")
    plan = LoadPlan(connections, duration, requests, rate)
    measure = _over_http if service.grpc is None else _over_grpc
    address, record = measure(files, service, model, version, timeout, plan)
    measured = report(record)
    if as_json:
        echo_json(_document(address, plan, measured))
    else:
        _say(address, plan, measured)
    _end(measured)


def _over_http(
    files: tuple[Path, ...],
    service: Service,
    model: str,
    version: int | None,
    timeout: float,
    plan: "LoadPlan",
) -> "tuple[str, Record]":
    from clients.http import HttpClient
    from clients.retry import NEVER_AGAIN
    from commandline.load.http import HttpTarget, bodies

    # What would fail every time is told as any other command tells it.
    url, key, tls = service.url, service.api_key, service.tls
    with HttpClient(url, api_key=key, tls=tls, retry=NEVER_AGAIN) as client:
        for file in files:
            client.predict(model, file, version=version, timeout=timeout)
    target = HttpTarget(url, model, version, key, timeout, tls)
    return target.address, _run(plan, target, bodies(files))


def _over_grpc(
    files: tuple[Path, ...],
    service: Service,
    model: str,
    version: int | None,
    timeout: float,
    plan: "LoadPlan",
) -> "tuple[str, Record]":
    from clients.grpc import GrpcClient
    from clients.retry import NEVER_AGAIN
    from commandline.load.grpc import GrpcTarget

    server, key, tls = service.grpc or "", service.api_key, service.tls
    with GrpcClient(server, api_key=key, tls=tls, retry=NEVER_AGAIN) as client:
        for file in files:
            client.predict(model, file, version=version, timeout=timeout)
    target = GrpcTarget(server, model, version, key, timeout, tls)
    return target.address, _run(plan, target, target.requests(files))


def _run(plan: "LoadPlan", target: Any, requests: Any) -> "Record":
    import asyncio

    from commandline.load.generator import run

    async def measure() -> "Record":
        async with target.calls(requests, plan.connections) as call:
            return await run(plan, call)

    return asyncio.run(measure())


def _document(address: str, plan: "LoadPlan", measured: "Report") -> dict[str, Any]:
    return {
        "target": address,
        "connections": plan.connections,
        "rate": plan.rate,
        **dataclasses.asdict(measured),
    }


def _say(address: str, plan: "LoadPlan", measured: "Report") -> None:
    from commandline.load.report import draw

    how = "" if plan.rate is None else f", {plan.rate:g} due a second"
    click.echo(f"{address}, {plan.connections} connections{how}")
    click.echo(
        f"  {measured.requests:,} answered in {measured.seconds:.1f} s: "
        + click.style(f"{measured.requests_per_second:,.1f} a second", bold=True)
    )
    latency = measured.latency_ms
    if latency is not None:
        since = "" if plan.rate is None else ", from when each was due"
        click.echo(
            f"  latency in ms{since}: p50 {latency.p50:.1f}  p95 {latency.p95:.1f}  "
            f"p99 {latency.p99:.1f}  longest {latency.longest:.1f}"
        )
        lines = draw(measured.histogram, shutil.get_terminal_size().columns)
        click.echo("\n".join(["", *(f"  {line}" for line in lines)]))


def _end(measured: "Report") -> None:
    """Tell what did not go well, on standard error and in the exit code."""
    if measured.generator_was_the_limit:
        click.echo(
            "Note: sending took a whole core: the service may be faster than this.", err=True
        )
    if measured.unsent:
        click.echo(
            f"{measured.unsent:,} requests were due and found no free connection: "
            "lower --rate or raise --connections.",
            err=True,
        )
    if measured.failed:
        errors = ", ".join(f"{what} {count:,}" for what, count in measured.errors.items())
        click.echo(f"{measured.failed:,} requests failed: {errors}", err=True)
        raise click.exceptions.Exit(Exit.SOME_FAILED if measured.requests else Exit.FAILED)
