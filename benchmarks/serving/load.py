"""Load: wrk over HTTP, h2load (nghttp2) for gRPC; both take little of the cores that they share.

A Python gRPC client would cost more than the server that it asks. h2load speaks HTTP/2 and knows
nothing of gRPC, so a request is one message with its frame, repeated; a gRPC error comes with
HTTP status 200 and no message, and is noticed by the bytes that are missing.
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
# Longer than any answer takes; wrk counts what is later.
TIMEOUT_S = 10
# How long a load generator may take beyond its time before it is ended.
GRACE_S = 30.0


class LoadError(Exception):
    """The load generator failed; the message is its own."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a load.

    Attributes:
        requests: answered, with whatever status.
        seconds: that it lasted.
        status_errors: answered with another status than 2xx or 3xx.
        socket_errors: could not connect, read or write.
        timeouts: answered too late.
        p50_ms: median latency; likewise the others.
        predictions: in the good answers.
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
        """Good answers per second."""
        return (self.requests - self.status_errors) / self.seconds


def missing_tools() -> dict[str, str]:
    """Load generators that are not installed, and what installs them."""
    packages = {"wrk": "wrk", "h2load": "nghttp2-client"}
    return {tool: package for tool, package in packages.items() if not shutil.which(tool)}


def http_load(
    port: int, requests: Sequence[Request], connections: int, seconds: float, pace: str = ""
) -> Load:
    """Repeat requests in turn from so many connections, each asking when it has its answer.

    Args:
        port: of the server on this machine.
        requests: asked in this order, over and over.
        connections: at a time.
        seconds: it lasts, a whole number of them.
        pace: "" is as fast as possible; "steady MS" and "bursty MS" see load.lua.

    Raises:
        LoadError: wrk could not.
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
    """Repeat a gRPC request from so many connections, one call at a time on each.

    Args:
        port: of the server on this machine.
        request: its body is a frame.
        connections: at a time.
        seconds: it lasts.
        answer_bytes: size of a good answer with its frame.

    Raises:
        LoadError: h2load could not.
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
    """What load.lua printed, the last line of wrk's output.

    Args:
        output: of wrk.
        predictions: in a good answer to each of the requests, which take turns.
    """
    load = msgspec.json.decode(output.strip().splitlines()[-1], type=Load)
    good = load.requests - load.status_errors
    return msgspec.structs.replace(load, predictions=round(good * statistics.mean(predictions)))


def read_h2load(output: str, log: str, seconds: float, answer_bytes: int, predictions: int) -> Load:
    """What h2load printed, and its log: start in µs, HTTP status, latency in µs on each line."""
    lines = [line.split("\t") for line in log.splitlines()]
    latencies = sorted(int(line[2]) / 1000 for line in lines)
    if len(latencies) < 2:
        raise LoadError(f"h2load got {len(latencies)} answers: {output[-500:]}")
    refused = sum(not line[1].startswith("2") for line in lines)
    found = re.search(r"\((\d+)\) data", output)
    messages = int(found[1]) // answer_bytes if found else 0
    # What is in flight at the end has its bytes counted, but no line, so a few more are right.
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
        raise LoadError(f"{command[0]} did not end after {error.timeout:g} s") from error
    except subprocess.CalledProcessError as error:
        raise LoadError(f"{command[0]}: {(error.stderr or error.stdout)[-500:]}") from error
    return finished.stdout
