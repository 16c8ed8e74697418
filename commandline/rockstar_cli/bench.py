"""`rockstar bench`: load tests over HTTP and gRPC, in one event loop, and their report.

In a closed loop each connection waits for its response, so a server that stalls gets fewer requests
just then, and its stall counts once ("coordinated omission"). With a rate (open loop), each request
is due at a fixed time and its latency counts from then, including the wait for a free connection:
what a user would experience.
"""

import dataclasses
import itertools
import math
import shutil
import time
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from rockstar_cli.options import NumberRange, Service, json_option, service_options
from rockstar_cli.output import Exit, echo_json

_MOST_SECONDS, _MOST_REQUESTS = 3600, 10_000_000
_SECONDS = NumberRange(0, _MOST_SECONDS, min_open=True)

OK = "ok"
_TIMEOUT = "timeout"
_NO_CONNECTION = "no connection"

# Sends request i on connection c; returns OK or an error such as "429".
Call = Callable[[int, int], Awaitable[str]]

_BINS = 12
_BLOCKS = " ▏▎▍▌▋▊▉█"
# Above this many cores the load generator itself is the bottleneck.
_BUSY = 0.9


@click.command(
    epilog="\b\nExamples:\n  rockstar bench --model cnn 7.png\n"
    "  rockstar bench --model cnn --rate 200 --duration 30 7.png\n"
    "  rockstar bench --grpc 127.0.0.1:8500 --model cnn --connections 4 7.png"
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@service_options("Name of the model.", required=True)
@click.option(
    "--connections", default=16, type=click.IntRange(1, 1000), help="Maximum concurrent requests."
)
@click.option(
    "--duration", default=10.0, metavar="SECONDS", type=_SECONDS, help="How long to send requests."
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
    "--timeout", default=10.0, metavar="SECONDS", type=_SECONDS, help="Timeout of a request."
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
    import asyncio

    if (rate or 0) * duration > _MOST_REQUESTS:
        raise click.UsageError(f"--rate × --duration: at most {_MOST_REQUESTS:,} requests")
    plan = LoadPlan(connections, duration, requests, rate)
    target = Target(service, model, version, timeout)
    target.try_once(files)
    calls = target.http_calls if service.grpc is None else target.grpc_calls

    async def measure() -> Record:
        async with calls(files, connections) as call:
            return await run(plan, call)

    measured = report(asyncio.run(measure()))
    if as_json:
        load = {"target": target.address, "connections": connections, "rate": rate}
        echo_json(load | dataclasses.asdict(measured))
    else:
        _echo_report(target.address, plan, measured)
    if measured.generator_was_the_limit:
        note = "Note: the load generator used a whole core: the service may be faster than this."
        click.echo(note, err=True)
    if measured.unsent:
        due = f"{measured.unsent:,} requests were due while no connection was free"
        click.echo(f"{due}: lower --rate or raise --connections.", err=True)
    if measured.failed:
        errors = ", ".join(f"{what} {count:,}" for what, count in measured.errors.items())
        click.echo(f"{measured.failed:,} requests failed: {errors}", err=True)
        raise click.exceptions.Exit(Exit.SOME_FAILED if measured.requests else Exit.FAILED)


@dataclass(frozen=True)
class LoadPlan:
    """The load: how many requests, for how long, and how many at a time."""

    connections: int  # maximum concurrent requests
    seconds: float  # how long to send
    requests: int | None = None  # maximum number; None is no limit
    rate: float | None = None  # requests per second (open loop); None is a closed loop


@dataclass
class Record:
    """Outcomes of the requests."""

    # Of successful requests, in seconds, from when a request was sent, or with a rate from when it
    # was due, until the response is complete.
    latencies: "array[float]" = field(default_factory=lambda: array("d"))
    errors: Counter[str] = field(default_factory=Counter)
    unsent: int = 0  # with a rate, requests that were due while no connection was free
    seconds: float = 0.0  # from the first request to the last response
    cpu_seconds: float = 0.0  # CPU time of this process meanwhile


async def run(plan: LoadPlan, call: Call) -> Record:
    """Send requests as planned, and wait for the last response."""
    import asyncio

    record, clock = Record(), asyncio.get_running_loop().time
    most = math.inf if plan.requests is None else plan.requests
    if plan.rate is not None:
        most = min(most, math.ceil(plan.rate * plan.seconds))
    # Shared by all connections.
    numbers = itertools.count() if math.isinf(most) else iter(range(int(most)))
    begin, cpu = clock(), time.process_time()

    async def send(connection: int) -> None:
        """Send requests over one connection, one at a time."""
        while clock() < begin + plan.seconds:
            number = next(numbers, None)
            if number is None:
                return
            due = clock()
            if plan.rate is not None:
                due = begin + number / plan.rate
                if (early := due - clock()) > 0:
                    await asyncio.sleep(early)
            outcome = await call(number, connection)
            if outcome == OK:
                record.latencies.append(clock() - due)
            else:
                record.errors[outcome] += 1

    await asyncio.gather(*map(send, range(plan.connections)))
    record.seconds = clock() - begin
    record.cpu_seconds = time.process_time() - cpu
    if plan.rate is not None:
        # Numbers that are left belong to requests that were due.
        record.unsent = sum(1 for _ in numbers)
    return record


@dataclass(frozen=True)
class Target:
    """The service and the model to test."""

    service: Service
    model: str
    version: int | None  # None is the newest
    timeout: float  # of a request, in seconds

    @property
    def address(self) -> str:
        """The address for display; of a gateway, the URL of the requests."""
        if self.service.grpc is not None:
            version = "" if self.version is None else f" version {self.version}"
            return f"Predict {self.model}{version} at {self.service.grpc}"
        version = "" if self.version is None else f"?version={self.version}"
        return f"{self.service.url.rstrip('/')}/predict/{quote(self.model, safe='')}{version}"

    def try_once(self, files: Sequence[Path]) -> None:
        """Predict each file, so that a request that always fails raises a CallError."""
        with self.service.client() as client:
            for file in files:
                client.predict(self.model, file, version=self.version, timeout=self.timeout)

    @asynccontextmanager
    async def http_calls(self, files: Sequence[Path], connections: int) -> AsyncIterator[Call]:
        """Open connections; yields a function that posts the files in turn."""
        import aiohttp

        key, tls = self.service.api_key, self.service.tls
        kinds = {".csv": "text/csv"}
        bodies = [
            (file.read_bytes(), kinds.get(file.suffix.lower(), "application/octet-stream"))
            for file in files
        ]
        async with aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            connector=aiohttp.TCPConnector(limit=connections, ssl=tls.context() if tls else True),
            timeout=aiohttp.ClientTimeout(total=self.timeout),
        ) as session:
            address = self.address

            async def call(number: int, _connection: int) -> str:
                content, content_type = bodies[number % len(bodies)]
                headers = {"Content-Type": content_type}
                try:
                    async with session.post(address, data=content, headers=headers) as response:
                        await response.read()
                        return OK if response.status == 200 else str(response.status)
                except TimeoutError:
                    return _TIMEOUT
                except aiohttp.ClientError:
                    return _NO_CONNECTION

            yield call

    @asynccontextmanager
    async def grpc_calls(self, files: Sequence[Path], connections: int) -> AsyncIterator[Call]:
        """Open connections; yields a function that sends a prepared request per file in turn."""
        import grpc.aio

        from rockstar_client.endpoint import fixed_headers, grpc_proxy
        from rockstar_client.tfserving import open_channel
        from tfs_api.services import MAX_MESSAGE_BYTES, PREDICT

        server = self.service.grpc or ""
        metadata = tuple(fixed_headers(self.service.api_key, None).items())
        requests = self._grpc_requests(files)
        options = [
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            # One connection per channel, and no retries, so that failures count.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
            *grpc_proxy(server),
        ]
        async with AsyncExitStack() as stack:
            methods: list[Any] = []
            for _ in range(connections):
                channel = open_channel(grpc.aio, server, self.service.tls, options)
                await stack.enter_async_context(channel)
                methods.append(channel.unary_unary(PREDICT.path))

            async def call(number: int, connection: int) -> str:
                request = requests[number % len(requests)]
                try:
                    await methods[connection](request, timeout=self.timeout, metadata=metadata)
                except grpc.aio.AioRpcError as error:
                    late = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                    return _TIMEOUT if late else str(error.code().name)
                return OK

            yield call

    def _grpc_requests(self, files: Sequence[Path]) -> list[bytes]:
        """Serialize a request for each file, prepared by the model's contract."""
        import msgspec
        import numpy as np

        from rockstar_client import tfserving_messages
        from rockstar_client.backend import Query
        from rockstar_client.examples import named_examples
        from rockstar_contract.inputs import prepare

        query = Query(self.model, version=self.version, timeout=self.timeout)
        with self.service.tensor_client() as server:
            spec = server.contract(query).encoded
        requests = []
        for file in files:
            examples = [each.example for each in named_examples(file)]
            rows = np.stack([prepare(each, spec, field=str(file)) for each in examples])
            filled = msgspec.structs.replace(query, inputs={spec.name: rows})
            requests.append(tfserving_messages.predict(filled).request.SerializeToString())
        return requests


@dataclass(frozen=True)
class Latency:
    """Latency of successful requests in milliseconds; percentiles by nearest rank."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    p999: float
    longest: float


@dataclass(frozen=True)
class Bin:
    """The number of requests that took up to `up_to_ms` and longer than the previous bin."""

    up_to_ms: float
    requests: int


@dataclass(frozen=True)
class Report:
    """The figures of one load test."""

    requests: int  # that succeeded
    failed: int
    unsent: int  # that were due while no connection was free
    seconds: float
    requests_per_second: float  # that succeeded
    latency_ms: Latency | None  # None without a successful request
    errors: dict[str, int]  # counts by HTTP status, gRPC code, "timeout" or "no connection"
    histogram: list[Bin]  # of latencies, in bins that grow by a constant factor
    generator_cpu: float  # cores used by the load generator; near 1 it is the bottleneck

    @property
    def generator_was_the_limit(self) -> bool:
        """Whether the load generator was the bottleneck."""
        return self.generator_cpu > _BUSY


def report(record: Record) -> Report:
    """Compute the report of a record."""
    import numpy as np  # here, to keep help fast

    ordered = np.sort(np.asarray(record.latencies)) * 1000
    seconds = max(record.seconds, 1e-9)
    latency, histogram = None, []
    if len(ordered):
        shares = (50, 90, 95, 99, 99.9, 100)
        found = np.percentile(ordered, shares, method="inverted_cdf")
        latency = Latency(*map(float, [ordered.mean(), *found]))
        least, most = np.maximum(ordered[[0, -1]], 1e-3).tolist()
        factor = max((most / least) ** (1 / _BINS), 1.01)
        edges = least * factor ** np.arange(1, _BINS)
        edges = np.append(edges[edges < most], most)
        counts = np.diff(np.searchsorted(ordered, edges, side="right"), prepend=0)
        histogram = [Bin(*each) for each in zip(edges.tolist(), counts.tolist(), strict=True)]
    return Report(
        requests=len(ordered),
        failed=record.errors.total(),
        unsent=record.unsent,
        seconds=record.seconds,
        requests_per_second=len(ordered) / seconds,
        latency_ms=latency,
        errors=dict(record.errors.most_common()),
        histogram=histogram,
        generator_cpu=record.cpu_seconds / seconds,
    )


def draw(histogram: Sequence[Bin], width: int) -> list[str]:
    """Draw the histogram: a line with a bar per bin, at most `width` characters wide."""
    most = max((each.requests for each in histogram), default=0)
    numbers = [f"{each.requests:,}" for each in histogram]
    room = max(8, width - 17 - max(map(len, numbers), default=0))
    lines = []
    for each, number in zip(histogram, numbers, strict=True):
        whole, eighths = divmod(int(each.requests / most * room * 8), 8)
        bar = ("█" * whole + _BLOCKS[eighths]).rstrip()
        lines.append(f"≤ {each.up_to_ms:>9.4g} ms  {bar} {number}")
    return lines


def _echo_report(address: str, plan: LoadPlan, measured: Report) -> None:
    rate = "" if plan.rate is None else f", {plan.rate:g} due per second"
    click.echo(f"{address}, {plan.connections} connections{rate}")
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
        lines = draw(measured.histogram, shutil.get_terminal_size().columns - 2)
        click.echo("\n".join(["", *(f"  {line}" for line in lines)]))
