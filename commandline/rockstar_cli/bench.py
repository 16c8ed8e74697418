"""`rockstar bench`: a load test."""

import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rockstar_cli.failures import Exit
from rockstar_cli.options import NumberRange, Service, json_option, model_option, service_options
from rockstar_cli.output import echo_json

if TYPE_CHECKING:
    from rockstar_cli.load import LoadPlan, Record, Report

_MOST_SECONDS, _MOST_REQUESTS = 3600, 10_000_000


@click.command(
    epilog="Examples: rockstar bench --model cnn 7.png; "
    "rockstar bench --model cnn --rate 200 --duration 30 7.png; "
    "rockstar bench --grpc 127.0.0.1:8500 --model cnn --connections 4 7.png"
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@model_option("Name of the model.", required=True)
@service_options
@click.option("--version", type=click.IntRange(1), help="Version; default: the newest.")
@click.option(
    "--connections", default=16, type=click.IntRange(1, 1000), help="Maximum concurrent requests."
)
@click.option(
    "--duration",
    default=10.0,
    metavar="SECONDS",
    type=NumberRange(0, _MOST_SECONDS, min_open=True),
    help="How long to send requests.",
)
@click.option(
    "--requests", type=click.IntRange(1, _MOST_REQUESTS), help="Maximum number of requests."
)
@click.option(
    "--rate",
    type=NumberRange(0, min_open=True),
    help="Requests per second (open loop); latency counts from when each request was due.",
)
@click.option(
    "--timeout",
    default=10.0,
    metavar="SECONDS",
    type=NumberRange(0, _MOST_SECONDS, min_open=True),
    help="Timeout of a request.",
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
    """Measure throughput and latency of a running service.

    Sends FILES in turn, each once before measuring. Without --rate, each connection waits for its
    response before it sends again (closed loop), which hides how long users wait during a stall.
    """
    from rockstar_cli.load import LoadPlan, report

    if (requests or 0) > _MOST_REQUESTS or (rate or 0) * duration > _MOST_REQUESTS:
        raise click.UsageError(f"--rate × --duration: at most {_MOST_REQUESTS:,} requests")
    plan = LoadPlan(connections, duration, requests, rate)
    measure = _over_http if service.grpc is None else _over_grpc
    address, record = measure(files, service, model, version, timeout, plan)
    measured = report(record)
    if as_json:
        echo_json(_document(address, plan, measured))
    else:
        _echo_report(address, plan, measured)
    _report_failures(measured)


def _over_http(
    files: tuple[Path, ...],
    service: Service,
    model: str,
    version: int | None,
    timeout: float,
    plan: "LoadPlan",
) -> "tuple[str, Record]":
    from rockstar_cli.load import HttpTarget, bodies
    from rockstar_client.http import HttpClient
    from rockstar_client.retry import NEVER_AGAIN

    # A request that always fails gets the same error message as from other commands.
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
    from rockstar_cli.load import GrpcTarget
    from rockstar_client.grpc import GrpcClient
    from rockstar_client.retry import NEVER_AGAIN

    server, key, tls = service.grpc or "", service.api_key, service.tls
    with GrpcClient(server, api_key=key, tls=tls, retry=NEVER_AGAIN) as client:
        for file in files:
            client.predict(model, file, version=version, timeout=timeout)
    target = GrpcTarget(server, model, version, key, timeout, tls)
    return target.address, _run(plan, target, target.requests(files))


def _run(plan: "LoadPlan", target: Any, requests: Any) -> "Record":
    import asyncio

    from rockstar_cli.load import run

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


def _echo_report(address: str, plan: "LoadPlan", measured: "Report") -> None:
    from rockstar_cli.load import draw

    how = "" if plan.rate is None else f", {plan.rate:g} due per second"
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


def _report_failures(measured: "Report") -> None:
    """Print failures to standard error, and set the exit code."""
    if measured.generator_was_the_limit:
        click.echo(
            "Note: the load generator used a whole core: the service may be faster than this.",
            err=True,
        )
    if measured.unsent:
        click.echo(
            f"{measured.unsent:,} requests were due while no connection was free: "
            "lower --rate or raise --connections.",
            err=True,
        )
    if measured.failed:
        errors = ", ".join(f"{what} {count:,}" for what, count in measured.errors.items())
        click.echo(f"{measured.failed:,} requests failed: {errors}", err=True)
        raise click.exceptions.Exit(Exit.SOME_FAILED if measured.requests else Exit.FAILED)
