"""Load tests over HTTP and gRPC, in one event loop, and their report.

In a closed loop each connection waits for its response, so a server that stalls gets fewer requests
just then, and its stall counts once ("coordinated omission"). With a rate (open loop), each request
is due at a fixed time and its latency counts from then, including the wait for a free connection:
what a user would experience.
"""

import asyncio
import math
import time
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import grpc
import grpc.aio
import numpy as np

from rockstar_client.channel import ChannelOptions
from rockstar_client.endpoint import Tls, fixed_headers
from rockstar_client.examples import read_examples
from rockstar_client.proxy import grpc_proxy
from rockstar_client.tfserving import Headers, TFServingClient
from rockstar_contract.contract import PREDICT_SIGNATURE
from rockstar_contract.inputs import prepare
from tfs_api.messages.prediction_pb2 import PredictRequest
from tfs_api.services import MAX_MESSAGE_BYTES, PREDICT
from tfs_api.tensors import to_proto

OK = "ok"
TIMEOUT = "timeout"
NO_CONNECTION = "no connection"

# Sends request i on connection c; returns OK or an error such as "429".
Call = Callable[[int, int], Awaitable[str]]


@dataclass(frozen=True)
class LoadPlan:
    """The load: how many requests, for how long, and how many at a time.

    Attributes:
        connections: maximum concurrent requests.
        seconds: how long to send.
        requests: maximum number of requests; None is no limit.
        rate: requests per second (open loop); None sends when a response arrives (closed loop).
    """

    connections: int
    seconds: float
    requests: int | None = None
    rate: float | None = None


@dataclass
class Record:
    """Outcomes of the requests.

    Attributes:
        latencies: of successful requests, in seconds, from when a request was sent, or with a rate
            from when it was due, until the response is complete.
        errors: counts by error.
        unsent: with a rate, requests that were due while no connection was free.
        seconds: from the first request to the last response.
        cpu_seconds: CPU time of this process meanwhile.
    """

    latencies: "array[float]" = field(default_factory=lambda: array("d"))
    errors: Counter[str] = field(default_factory=Counter)
    unsent: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def add(self, outcome: str, latency: float) -> None:
        """Record a request."""
        if outcome == OK:
            self.latencies.append(latency)
        else:
            self.errors[outcome] += 1


async def run(plan: LoadPlan, call: Call) -> Record:
    """Send requests as planned, and wait for the last response."""
    record, clock = Record(), asyncio.get_running_loop().time
    begin, cpu = clock(), time.process_time()
    numbers = _numbers(plan)
    await asyncio.gather(
        *(
            _send(connection, plan, call, record, numbers, begin)
            for connection in range(plan.connections)
        )
    )
    record.seconds = clock() - begin
    record.cpu_seconds = time.process_time() - cpu
    if plan.rate is not None:
        # Numbers that are left belong to requests that were due.
        record.unsent = sum(1 for _ in numbers)
    return record


def _numbers(plan: LoadPlan) -> Iterator[int]:
    """Request numbers, shared by all connections."""
    most = math.inf if plan.requests is None else plan.requests
    if plan.rate is not None:
        most = min(most, math.ceil(plan.rate * plan.seconds))
    number = 0
    while number < most:
        yield number
        number += 1


async def _send(
    connection: int,
    plan: LoadPlan,
    call: Call,
    record: Record,
    numbers: Iterator[int],
    begin: float,
) -> None:
    """Send requests over one connection, one at a time."""
    clock = asyncio.get_running_loop().time
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
        record.add(outcome, clock() - due)


@dataclass(frozen=True)
class Body:
    """A request body."""

    content: bytes
    content_type: str


def bodies(files: Sequence[Path]) -> list[Body]:
    """Read files as request bodies.

    Raises:
        OSError: a file cannot be read.
    """
    return [
        Body(
            file.read_bytes(),
            "text/csv" if file.suffix.lower() == ".csv" else "application/octet-stream",
        )
        for file in files
    ]


@dataclass(frozen=True)
class HttpTarget:
    """Where to.

    Attributes:
        url: of the gateway.
        model: name.
        version: None is the newest.
        api_key: if the gateway requires one.
        timeout: of a request, in seconds.
        tls: CA certificates; None uses the system's.
    """

    url: str
    model: str
    version: int | None = None
    api_key: str | None = None
    timeout: float = 10.0
    tls: Tls | None = None

    @property
    def address(self) -> str:
        """The address for display."""
        version = "" if self.version is None else f"?version={self.version}"
        return f"{self.url.rstrip('/')}/predict/{quote(self.model, safe='')}{version}"

    @asynccontextmanager
    async def calls(self, bodies: Sequence[Body], connections: int) -> AsyncIterator[Call]:
        """Open connections; yields a function that sends the bodies in turn."""
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        async with aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(
                limit=connections, ssl=self.tls.context() if self.tls else True
            ),
            timeout=aiohttp.ClientTimeout(total=self.timeout),
        ) as session:
            address = self.address

            async def call(number: int, _connection: int) -> str:
                body = bodies[number % len(bodies)]
                kind = {"Content-Type": body.content_type}
                try:
                    async with session.post(address, data=body.content, headers=kind) as response:
                        await response.read()
                        status = response.status
                except TimeoutError:
                    return TIMEOUT
                except aiohttp.ClientError:
                    return NO_CONNECTION
                return OK if status == HTTPStatus.OK else str(status)

            yield call


_OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # One connection per channel, and no retries, so that failures count.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
]


@dataclass(frozen=True)
class GrpcTarget:
    """Where to.

    Attributes:
        server: "host:port" of the gRPC API.
        model: name.
        version: None is the newest.
        api_key: if a proxy in front of the server requires one.
        timeout: of a request, in seconds.
        tls: CA certificates; None is plain text.
    """

    server: str
    model: str
    version: int | None = None
    api_key: str | None = None
    timeout: float = 10.0
    tls: Tls | None = None

    @property
    def address(self) -> str:
        """The address for display."""
        version = "" if self.version is None else f" version {self.version}"
        return f"Predict {self.model}{version} at {self.server}"

    def requests(self, files: Sequence[Path]) -> list[bytes]:
        """A serialized request for each file, prepared as the model's contract says.

        Raises:
            CallError: the contract cannot be read.
            InvalidInputError: a file cannot be used.
        """
        metadata, options = self._metadata(), ChannelOptions(tls=self.tls, proxy=True)
        with TFServingClient(
            self.server, timeout=self.timeout, headers=lambda: metadata, options=options
        ) as server:
            spec = server.contract(self.model, self.version).encoded
        requests = []
        for file in files:
            examples = read_examples(file)
            rows = np.stack([prepare(each, spec, field=str(file)) for each in examples])
            request = PredictRequest()
            request.model_spec.name = self.model
            request.model_spec.signature_name = PREDICT_SIGNATURE
            if self.version is not None:
                request.model_spec.version.value = self.version
            request.inputs[spec.name].CopyFrom(to_proto(rows, as_content=True))
            requests.append(request.SerializeToString())
        return requests

    @asynccontextmanager
    async def calls(self, requests: Sequence[bytes], connections: int) -> AsyncIterator[Call]:
        """Open connections; yields a function that sends the requests in turn."""
        async with AsyncExitStack() as stack:
            channels = [
                await stack.enter_async_context(self._channel()) for _ in range(connections)
            ]
            metadata = self._metadata()
            methods: list[Any] = [channel.unary_unary(PREDICT.path) for channel in channels]

            async def call(number: int, connection: int) -> str:
                request = requests[number % len(requests)]
                try:
                    await methods[connection](request, timeout=self.timeout, metadata=metadata)
                except grpc.aio.AioRpcError as error:
                    late = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                    return TIMEOUT if late else error.code().name
                return OK

            yield call

    def _metadata(self) -> Headers:
        return tuple(fixed_headers(self.api_key, None).items())

    def _channel(self) -> grpc.aio.Channel:
        credentials = ChannelOptions(tls=self.tls).credentials()
        options = [*_OPTIONS, *grpc_proxy(self.server)]
        if credentials is None:
            return grpc.aio.insecure_channel(self.server, options=options)
        return grpc.aio.secure_channel(self.server, credentials, options=options)


_BARS = 12
_BLOCKS = " ▏▎▍▌▋▊▉█"
# Above this many cores the load generator itself is the bottleneck.
_BUSY = 0.9


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
    """Number of requests that took up to `up_to_ms` and longer than the previous bin."""

    up_to_ms: float
    requests: int


@dataclass(frozen=True)
class Report:
    """The figures of one load test.

    Attributes:
        requests: that succeeded.
        failed: that failed.
        unsent: that were due while no connection was free.
        seconds: duration.
        requests_per_second: that succeeded.
        latency_ms: None without a successful request.
        errors: counts by HTTP status, gRPC code, "timeout" or "no connection".
        histogram: of latencies, in bins that grow by a constant factor.
        generator_cpu: cores used by the load generator; near 1 it is the bottleneck.
    """

    requests: int
    failed: int
    unsent: int
    seconds: float
    requests_per_second: float
    latency_ms: Latency | None
    errors: dict[str, int]
    histogram: list[Bin]
    generator_cpu: float

    @property
    def generator_was_the_limit(self) -> bool:
        """Whether the load generator was the bottleneck."""
        return self.generator_cpu > _BUSY


def report(record: Record) -> Report:
    """Compute the report of a record."""
    ordered = sorted(latency * 1000 for latency in record.latencies)
    seconds = max(record.seconds, 1e-9)
    return Report(
        requests=len(ordered),
        failed=record.errors.total(),
        unsent=record.unsent,
        seconds=record.seconds,
        requests_per_second=len(ordered) / seconds,
        latency_ms=_latency(ordered) if ordered else None,
        errors=dict(record.errors.most_common()),
        histogram=_histogram(ordered),
        generator_cpu=record.cpu_seconds / seconds,
    )


def draw(histogram: Sequence[Bin], width: int) -> list[str]:
    """Draw the histogram: a line with a bar per bin, at most `width` characters wide."""
    most = max((each.requests for each in histogram), default=0)
    numbers = [f"{each.requests:,}" for each in histogram]
    room = max(8, width - 17 - max(map(len, numbers), default=0))
    return [
        f"≤ {each.up_to_ms:>9.4g} ms  {_bar(each.requests / most * room)} {number}"
        for each, number in zip(histogram, numbers, strict=True)
    ]


def _latency(ordered: Sequence[float]) -> Latency:
    def percentile(share: float) -> float:
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

    return Latency(
        mean=math.fsum(ordered) / len(ordered),
        p50=percentile(0.5),
        p90=percentile(0.9),
        p95=percentile(0.95),
        p99=percentile(0.99),
        p999=percentile(0.999),
        longest=ordered[-1],
    )


def _histogram(ordered: Sequence[float]) -> list[Bin]:
    if not ordered:
        return []
    least, most = max(ordered[0], 1e-3), max(ordered[-1], 1e-3)
    factor = max((most / least) ** (1 / _BARS), 1.01)
    edges = [least * factor ** (step + 1) for step in range(_BARS - 1)]
    edges = [edge for edge in edges if edge < most] + [most]
    counts, place = [0] * len(edges), 0
    for latency in ordered:
        while latency > edges[place] and place < len(edges) - 1:
            place += 1
        counts[place] += 1
    return [Bin(edge, count) for edge, count in zip(edges, counts, strict=True)]


def _bar(eighths_of: float) -> str:
    whole = int(eighths_of)
    part = _BLOCKS[int((eighths_of - whole) * 8)]
    return ("█" * whole + part).rstrip()
