"""Overhead of Predict over gRPC, compared with a Python gRPC echo server.

    python -m benchmarks.grpc_overhead

The model server serves a logistic model (784 floats to 10) with LiteRT. The echo server returns the
bytes of each request and has the same settings. Both run throughout in separate processes, and so
do the clients. Many short rounds of both take turns, so that other load on the machine affects
both; a ratio is the median of the rounds' ratios.
"""

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
import grpc
import numpy as np

from benchmarks.logistic import INPUT, PIXELS, make_logistic
from benchmarks.model_servers import model_server
from rockstar_serving.model_server.grpc_server import new_server
from rockstar_serving.model_server.options import GrpcOptions
from tfs_api.services import PREDICT
from tfs_api.tensors import to_proto

ECHO_PATH = "/echo/Echo"
SPAWN = multiprocessing.get_context("spawn")

Targets = dict[str, tuple[str, str]]  # address and path by server name
# One round: by server name, client process and caller, the seconds of each call.
Round = dict[str, list[list[list[float]]]]


@click.command()
@click.option("--rounds", default=60, type=click.IntRange(2), help="Rounds of each server.")
@click.option("--calls", default=150, type=click.IntRange(1), help="Calls by a caller in a round.")
@click.option("--callers", default=16, type=click.IntRange(1), help="Callers, for throughput.")
@click.option("--processes", default=1, type=click.IntRange(1), help="Processes of the callers.")
def main(rounds: int, calls: int, callers: int, processes: int) -> None:
    """Measure and print medians."""
    with tempfile.TemporaryDirectory() as folder:
        base_path = Path(folder) / "logistic"
        make_logistic(base_path)
        flags = f"--model_base_path={base_path}", "--prefer_tflite_model"
        with model_server(*flags) as address, _echo_server() as echo:
            targets = {"echo": (echo, ECHO_PATH), "predict": (address["grpc"], PREDICT.path)}
            for name, request in _requests().items():
                click.echo(f"request as {name}, {len(request)} bytes")
                with _clients(targets, request, calls, processes=1, threads=1) as clients:
                    _report("one caller, median µs", map(_latencies, _measure(clients, rounds)))
                few, threads = max(1, calls // 10), callers // processes
                with _clients(targets, request, few, processes, threads) as clients:
                    _report(f"{callers} callers, calls/s", map(_rates, _measure(clients, rounds)))


def _requests() -> dict[str, bytes]:
    image = np.random.default_rng(1).random((1, PIXELS), np.float32)
    requests = {}
    for name, as_content in (("typed field", False), ("tensor_content", True)):
        request = PREDICT.request()
        request.model_spec.name = "default"
        request.inputs[INPUT].CopyFrom(to_proto(image, as_content=as_content))
        requests[name] = request.SerializeToString()
    return requests


def _measure(clients: list[Any], rounds: int) -> list[Round]:
    found: list[Round] = []
    for _ in range(rounds + 1):
        times: Round = {}
        for name in ("echo", "predict"):
            for client in clients:
                client.send(name)
            times[name] = [client.recv() for client in clients]
        found.append(times)
    return found[1:]  # the first round is a warm-up


def _latencies(times: Round) -> dict[str, float]:
    return {
        name: statistics.median(
            seconds * 1e6 for process in processes for caller in process for seconds in caller
        )
        for name, processes in times.items()
    }


def _rates(times: Round) -> dict[str, float]:
    # Each caller sends its next request right after the response.
    return {
        name: sum(len(caller) / sum(caller) for process in processes for caller in process)
        for name, processes in times.items()
    }


@contextmanager
def _clients(
    targets: Targets, request: bytes, calls: int, processes: int, threads: int
) -> Iterator[list[Any]]:
    """Pipes to client processes: send a server's name, receive the seconds of each call."""
    with ExitStack() as stack:
        pipes = []
        for _ in range(processes):
            ours, theirs = SPAWN.Pipe()
            arguments = (theirs, targets, request, calls, threads)
            process = SPAWN.Process(target=_call, args=arguments, daemon=True)
            process.start()
            stack.callback(process.join)
            stack.callback(ours.send, None)
            pipes.append(ours)
        yield pipes


def _call(pipe: Any, targets: Targets, request: bytes, calls: int, threads: int) -> None:
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(threads))
        methods: dict[str, Any] = {
            name: stack.enter_context(grpc.insecure_channel(address)).unary_unary(path)
            for name, (address, path) in targets.items()
        }
        while name := pipe.recv():
            jobs = [pool.submit(_times, methods[name], request, calls) for _ in range(threads)]
            pipe.send([job.result() for job in jobs])


def _times(method: Any, request: bytes, calls: int) -> list[float]:
    times = []
    for _ in range(calls):
        started = time.perf_counter()
        method(request, timeout=60)
        times.append(time.perf_counter() - started)
    return times


@contextmanager
def _echo_server() -> Iterator[str]:
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=_serve_echo, args=(theirs,), daemon=True)
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


def _report(what: str, found: Iterator[dict[str, float]]) -> None:
    rounds = list(found)
    ratios = [each["predict"] / each["echo"] for each in rounds]
    low, _, high = statistics.quantiles(ratios, n=4)
    medians = "  ".join(
        f"{name} {statistics.median(each[name] for each in rounds):7.0f}"
        for name in ("echo", "predict")
    )
    click.echo(
        f"  {what:<24} {medians}  ratio {statistics.median(ratios):.2f} "
        f"(half of {len(ratios)} rounds: {low:.2f} to {high:.2f})"
    )


if __name__ == "__main__":
    main()
