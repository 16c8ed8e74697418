"""Load generators: wrk for HTTP, h2load (nghttp2) for gRPC.

Both use little CPU; a Python gRPC client would use more than the server. h2load supports HTTP/2 but
not gRPC, so it repeats one message with its frame. A gRPC error has HTTP status 200 and no message,
and is detected by the missing bytes.
"""

import os
import re
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.serving.system import Request

SCRIPT = Path(__file__).with_name("load.lua")
# wrk counts later responses as timeouts.
TIMEOUT_S = 10
# Time beyond the duration after which a load generator is stopped.
GRACE_S = 30.0


class LoadError(Exception):
    """The load generator failed; the message is its own."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """Results of a load.

    Attributes:
        requests: responses with any status.
        seconds: duration.
        status_errors: responses with a status other than 2xx or 3xx.
        socket_errors: failures to connect, read or write.
        timeouts: late responses.
        p50_ms: median latency; the others are the 90th and 99th percentiles and the maximum.
        predictions: predictions in good responses.
    """

    requests: int
    seconds: float
    status_errors: int = 0
    socket_errors: int = 0
    timeouts: int = 0
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    predictions: int = 0

    @property
    def good_rate(self) -> float:
        """Good responses per second."""
        return (self.requests - self.status_errors) / self.seconds


def missing_tools() -> dict[str, str]:
    """Load generators that are not installed, with their Debian packages."""
    packages = {"wrk": "wrk", "h2load": "nghttp2-client"}
    return {tool: package for tool, package in packages.items() if not shutil.which(tool)}


def http_load(
    port: int, requests: Sequence[Request], connections: int, seconds: float, pace: str = ""
) -> Load:
    """Send requests over HTTP; each connection sends the next one after its response.

    Args:
        port: port of the server on this machine.
        requests: requests, repeated in this order.
        connections: number of connections.
        seconds: duration, rounded to whole seconds.
        pace: "" for as fast as possible; for "steady MS" and "bursty MS" see load.lua.

    Raises:
        LoadError: wrk failed.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        for number, request in enumerate(requests, start=1):
            head = f"{request.path}\n{request.content_type}\n".encode()
            Path(folder, str(number)).write_bytes(head + request.body)
        command = [
            *("wrk", f"--threads={min(2, connections)}", f"--connections={connections}"),
            *(f"--duration={round(seconds)}s", f"--timeout={TIMEOUT_S}s", f"--script={SCRIPT}"),
            *(f"http://127.0.0.1:{port}", "--", folder, str(len(requests))),
        ]
        output = _run(command, seconds, {"REQUEST_PACE": pace})
    return read_wrk(output, [request.predictions for request in requests])


def grpc_load(
    port: int, request: Request, connections: int, seconds: float, answer_bytes: int
) -> Load:
    """Repeat a gRPC request, one call at a time on each connection.

    Args:
        port: port of the server on this machine.
        request: request whose body is a message with its frame.
        connections: number of connections.
        seconds: duration, rounded to whole seconds.
        answer_bytes: size of a good response with its frame.

    Raises:
        LoadError: h2load failed.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        body, log = Path(folder, "body"), Path(folder, "log")
        body.write_bytes(request.body)
        command = [
            *("h2load", f"--clients={connections}", "--threads=1", "--max-concurrent-streams=1"),
            *(f"--duration={round(seconds)}", f"--data={body}", f"--log-file={log}"),
            *(f"--header=content-type: {request.content_type}", "--header=te: trailers"),
            f"http://127.0.0.1:{port}{request.path}",
        ]
        output = _run(command, seconds, {})
        return read_h2load(output, log.read_text(), seconds, answer_bytes, request.predictions)


def read_wrk(output: str, predictions: Sequence[int]) -> Load:
    """Parse the last line of wrk's output, which load.lua prints.

    Args:
        output: wrk's output.
        predictions: number of predictions in a good response to each of the repeated requests.
    """
    load = msgspec.json.decode(output.strip().splitlines()[-1], type=Load)
    good = load.requests - load.status_errors
    return msgspec.structs.replace(load, predictions=round(good * statistics.mean(predictions)))


def read_h2load(output: str, log: str, seconds: float, answer_bytes: int, predictions: int) -> Load:
    """Parse the output and log of h2load; a log line has start in µs, status, latency in µs."""
    lines = [line.split("\t") for line in log.splitlines()]
    latencies = sorted(int(line[2]) / 1000 for line in lines)
    if len(latencies) < 2:
        raise LoadError(f"h2load got {len(latencies)} answers: {output[-500:]}")
    refused = sum(not line[1].startswith("2") for line in lines)
    found = re.search(r"\((\d+)\) data", output)
    messages = int(found[1]) // answer_bytes if found else 0
    # Bytes of requests in flight at the end count, but they have no line; hence max().
    empty = max(0, len(latencies) - refused - messages)
    cuts = statistics.quantiles(latencies, n=100, method="inclusive")
    return Load(
        requests=len(latencies),
        seconds=seconds,
        status_errors=refused + empty,
        p50_ms=cuts[49],
        p90_ms=cuts[89],
        p99_ms=cuts[98],
        max_ms=latencies[-1],
        predictions=(len(latencies) - refused - empty) * predictions,
    )


def _run(command: list[str], seconds: float, variables: dict[str, str]) -> str:
    try:
        finished = subprocess.run(
            command,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=seconds + GRACE_S,
            check=True,
        )
    except FileNotFoundError as error:
        raise LoadError(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"{command[0]} did not exit within {error.timeout:g} s") from error
    except subprocess.CalledProcessError as error:
        raise LoadError(f"{command[0]}: {(error.stderr or error.stdout)[-500:]}") from error
    return finished.stdout
