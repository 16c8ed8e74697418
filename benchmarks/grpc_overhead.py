"""What Predict over gRPC costs beside a Python gRPC server that does nothing but echo.

    python -m benchmarks.grpc_overhead

The model server serves a logistic model (784 floats to 10) with LiteRT; the echo answers with the
bytes that it got, through the same server settings. Both run all the time, each in a process of its
own, and the clients in others; rounds of both take turns, so that what else the machine does hits
both. Every number is the median over the rounds, with the least and the largest.
"""

import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import grpc
import numpy as np

from benchmarks.logistic import INPUT, PIXELS, make_logistic
from serving.api.services import PREDICT
from serving.api.tensors import to_proto
from serving.model_server.grpc_api.server import new_server
from serving.model_server.options import GrpcOptions

ECHO_PATH = "/echo/Echo"


@click.command()
@click.option("--rounds", default=9, type=click.IntRange(1))
@click.option("--calls", default=2000, type=click.IntRange(1), help="Of one round.")
@click.option("--callers", default=16, type=click.IntRange(1), help="In the measure of throughput.")
@click.option("--processes", default=2, type=click.IntRange(1), help="That the callers run in.")
def main(rounds: int, calls: int, callers: int, processes: int) -> None:
    """Measure and print medians."""
    with tempfile.TemporaryDirectory() as folder:
        base_path = Path(folder) / "logistic"
        make_logistic(base_path)
        with _model_server(base_path) as predict, _echo_server() as echo:
            for name, request in _requests().items():
                targets = {"echo": (echo, ECHO_PATH), "predict": (predict, PREDICT.path)}
                click.echo(f"request as {name}, {len(request)} bytes")
                _report("one caller, median µs", _latencies(targets, request, rounds, calls))
                rates = _throughputs(targets, request, rounds, calls, callers, processes)
                _report(f"{callers} callers, calls/s", rates)


Targets = dict[str, tuple[str, str]]  # by name, the address and the path


def _requests() -> dict[str, bytes]:
    image = np.random.default_rng(1).random((1, PIXELS), np.float32)
    requests = {}
    for name, as_content in (("typed field", False), ("tensor_content", True)):
        request = PREDICT.request()
        request.model_spec.name = "default"
        request.inputs[INPUT].CopyFrom(to_proto(image, as_content=as_content))
        requests[name] = request.SerializeToString()
    return requests


def _latencies(targets: Targets, request: bytes, rounds: int, calls: int) -> dict[str, list[float]]:
    """The median latency of each round in µs."""
    found: dict[str, list[float]] = {name: [] for name in targets}
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as client:
        for measured in range(-1, rounds):
            for name, target in targets.items():
                seconds = client.submit(_ask, *target, request, calls).result()
                if measured >= 0:  # the first round warms up
                    found[name].append(statistics.median(seconds) * 1e6)
    return found


def _throughputs(
    targets: Targets, request: bytes, rounds: int, calls: int, callers: int, processes: int
) -> dict[str, list[float]]:
    """The calls per second of each round."""
    found: dict[str, list[float]] = {name: [] for name in targets}
    each = callers // processes
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as clients:
        for measured in range(-1, rounds):
            for name, target in targets.items():
                jobs = [
                    clients.submit(_ask_together, *target, request, calls // callers, each)
                    for _ in range(processes)
                ]
                rates = [job.result() for job in jobs]
                if measured >= 0:
                    found[name].append(sum(rates))
    return found


def _ask(address: str, path: str, request: bytes, calls: int) -> list[float]:
    """How long each of some calls took, one after the other, in seconds."""
    with _caller(address, path) as call:
        return [_timed(call, request) for _ in range(calls)]


def _ask_together(address: str, path: str, request: bytes, calls: int, callers: int) -> float:
    """Calls per second of some callers that share a channel, each of which calls so often."""
    with _caller(address, path) as call, ThreadPoolExecutor(callers) as pool:
        call(request)
        started = time.perf_counter()
        list(pool.map(lambda _: [call(request) for _ in range(calls)], range(callers)))
        return calls * callers / (time.perf_counter() - started)


@contextmanager
def _caller(address: str, path: str) -> Iterator[Callable[[bytes], bytes]]:
    with grpc.insecure_channel(address) as channel:
        method: Any = channel.unary_unary(path)
        yield lambda request: method(request, timeout=60)


def _timed(call: Callable[[bytes], Any], request: bytes) -> float:
    started = time.perf_counter()
    call(request)
    return time.perf_counter() - started


@contextmanager
def _model_server(base_path: Path) -> Iterator[str]:
    address_file = base_path.parent / "address.json"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "serving.model_server", f"--model_base_path={base_path}"),
            *("--host=127.0.0.1", "--port=auto", f"--address_file={address_file}"),
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        while not address_file.exists():
            if process.poll() is not None:
                raise click.ClickException("the model server did not start")
            time.sleep(0.01)
        yield json.loads(address_file.read_text())["grpc"]
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _echo_server() -> Iterator[str]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve_echo, args=(theirs,), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send("stop")
        process.join()


def _serve_echo(pipe: Any) -> None:
    echo: Any = grpc.unary_unary_rpc_method_handler(lambda request, _: request)
    handler = grpc.method_handlers_generic_handler("echo", {"Echo": echo})
    server = new_server(GrpcOptions(), [handler])
    pipe.send(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
    server.start()
    pipe.recv()
    server.stop(0).wait()


def _report(what: str, found: dict[str, list[float]]) -> None:
    ratios = [predict / echo for echo, predict in zip(found["echo"], found["predict"], strict=True)]
    parts = [f"{name} {statistics.median(values):8.1f}" for name, values in found.items()]
    click.echo(
        f"  {what:<24} {'  '.join(parts)}  "
        f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
