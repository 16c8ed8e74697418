"""Load generators: wrk, HttpClient and `curl -F` for HTTP, h2load (nghttp2) for gRPC.

wrk and h2load use little CPU; a Python gRPC client would use more than the server. h2load supports
HTTP/2 but not gRPC, so it repeats one message with its frame. A gRPC error has HTTP status 200 and
no message, and is detected by the missing bytes.
"""

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.serving.systems import ROOT, Request

SCRIPT = Path(__file__).with_name("load.lua")
# wrk counts later responses as timeouts.
TIMEOUT_S = 10
# Time beyond the duration after which a load generator is stopped.
GRACE_S = 30.0
# Requests of curl for each second of a load; it cannot stop after a time.
_CURL_RATE = 250


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
    def errors(self) -> int:
        """Failures of all kinds."""
        return self.status_errors + self.socket_errors + self.timeouts

    @property
    def good_rate(self) -> float:
        """Good responses per second."""
        return (self.requests - self.status_errors) / self.seconds


def require_tools(*tools: str) -> None:
    """Check that load generators are installed.

    Raises:
        LoadError: one is not; with its Debian package.
    """
    packages = {"h2load": "nghttp2-client"}
    if missing := [packages.get(tool, tool) for tool in tools if not shutil.which(tool)]:
        raise LoadError(f"not installed; on Debian: apt-get install {' '.join(missing)}")


def http_load(
    port: int,
    requests: Sequence[Request],
    connections: int,
    seconds: float,
    pace: str = "",
    varied: bool = False,
) -> Load:
    """Send requests over HTTP; each connection sends the next one after its response.

    Args:
        port: port of the server on this machine.
        requests: requests, repeated in this order.
        connections: number of connections.
        seconds: duration, rounded to whole seconds.
        pace: "" for as fast as possible; for "steady MS" and "bursty MS" see load.lua.
        varied: whether each request has its own X-Request-Id and User-Agent.

    Raises:
        LoadError: wrk failed.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        for number, request in enumerate(requests, start=1):
            headers = "".join(f"{name}: {value}\n" for name, value in request.all_headers.items())
            head = f"{request.path}\n{headers}\n".encode()
            Path(folder, str(number)).write_bytes(head + request.body)
        command = [
            *("wrk", f"--threads={min(2, connections)}", f"--connections={connections}"),
            *(f"--duration={round(seconds)}s", f"--timeout={TIMEOUT_S}s", f"--script={SCRIPT}"),
            *(f"http://127.0.0.1:{port}", "--", folder, str(len(requests))),
        ]
        output = _run(
            command, seconds, {"REQUEST_PACE": pace, "REQUEST_VARIED": "1" if varied else ""}
        )
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
        output = _run(command, seconds)
        return read_h2load(output, log.read_text(), seconds, answer_bytes, request.predictions)


def client_load(
    port: int, model: str, pngs: Sequence[bytes], connections: int, seconds: float
) -> Load:
    """Predict with HttpClient in as many threads of one process as connections.

    Raises:
        LoadError: the process failed.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        _write(folder, pngs)
        arguments = [f"http://127.0.0.1:{port}", model, folder, str(connections), str(seconds)]
        command = [sys.executable, "-m", "benchmarks.serving.client_load", *arguments]
        return read_transfers(_run(command, seconds), seconds)


def curl_load(
    port: int, path: str, pngs: Sequence[bytes], connections: int, seconds: float
) -> Load:
    """Send PNGs as a form with one curl process, which transfers several at a time.

    Raises:
        LoadError: curl failed.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        files = _write(folder, pngs)
        transfers = [
            f'url = "http://127.0.0.1:{port}{path}"\n'
            f'form = "images=@{files[number % len(files)]}"\n'
            'output = "/dev/null"\nwrite-out = "%{http_code} %{time_total}\\n"\n'
            for number in range(round(_CURL_RATE * seconds))
        ]
        configuration = Path(folder, "curl.conf")
        configuration.write_text("next\n".join(transfers))
        command = ["curl", "--disable", "--silent", "--config", str(configuration), "--parallel"]
        started = time.perf_counter()
        output = _run([*command, "--parallel-max", str(connections)], seconds)
        return read_transfers(output, time.perf_counter() - started)


def read_transfers(output: str, seconds: float) -> Load:
    """Parse lines of a status and the seconds of a request, each with one prediction.

    Raises:
        LoadError: fewer than two responses.
    """
    lines = [line.split() for line in output.splitlines() if line]
    good = sum(status == "200" for status, _ in lines)
    return _load([1e3 * float(taken) for _, taken in lines], seconds, len(lines) - good, good)


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
    rejected = sum(not line[1].startswith("2") for line in lines)
    found = re.search(r"\((\d+)\) data", output)
    messages = int(found[1]) // answer_bytes if found else 0
    # Bytes of requests in flight at the end count, but they have no line; hence max().
    errors = rejected + max(0, len(lines) - rejected - messages)
    if not lines:
        raise LoadError(f"h2load got no answers: {output[-500:]}")
    latencies = [int(line[2]) / 1e3 for line in lines]
    return _load(latencies, seconds, errors, (len(lines) - errors) * predictions)


def _load(latencies: list[float], seconds: float, errors: int, predictions: int) -> Load:
    """The results of requests whose latencies in ms are known."""
    if len(latencies) < 2:
        raise LoadError(f"only {len(latencies)} responses")
    cuts = statistics.quantiles(latencies, n=100, method="inclusive")
    return Load(
        requests=len(latencies),
        seconds=seconds,
        status_errors=errors,
        p50_ms=cuts[49],
        p90_ms=cuts[89],
        p99_ms=cuts[98],
        max_ms=max(latencies),
        predictions=predictions,
    )


def _write(folder: str, pngs: Sequence[bytes]) -> list[Path]:
    files = [Path(folder, f"{number}.png") for number in range(len(pngs))]
    for file, png in zip(files, pngs, strict=True):
        file.write_bytes(png)
    return files


def _run(command: list[str], seconds: float, variables: dict[str, str] | None = None) -> str:
    try:
        finished = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **(variables or {})},
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
