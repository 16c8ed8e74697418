"""What Predict over gRPC costs beside a Python gRPC server that does nothing but echo.

    python -m benchmarks.grpc_overhead

The model server serves a logistic model (784 floats to 10) with LiteRT; the echo answers with the
bytes that it got, through the same server settings. Both run all the time, each in a process of its
own, and so do the clients. Many short rounds of both take turns, so that what else the machine does
hits both; a ratio is the median of those of neighboring rounds.
"""

import json
import multiprocessing
import statistics
import subprocess
import sys
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
from rockstar_serving.model_server.grpc_server import new_server
from rockstar_serving.model_server.options import GrpcOptions
from tfs_api.services import PREDICT
from tfs_api.tensors import to_proto

ECHO_PATH = "/echo/Echo"
SPAWN = multiprocessing.get_context("spawn")

Targets = dict[str, tuple[str, str]]  # by name, the address and the path
# Of one round: by name, and of each process of clients, how long each caller's calls took.
Round = dict[str, list[list[list[float]]]]


@click.command()
@click.option("--rounds", default=60, type=click.IntRange(2), help="Of each server.")
@click.option("--calls", default=150, type=click.IntRange(1), help="Of one caller in a round.")
@click.option("--callers", default=16, type=click.IntRange(1), help="In the measure of throughput.")
@click.option("--processes", default=1, type=click.IntRange(1), help="That the callers run in.")
def main(rounds: int, calls: int, callers: int, processes: int) -> None:
    """Measure and print medians."""
    with tempfile.TemporaryDirectory() as folder:
        base_path = Path(folder) / "logistic"
        make_logistic(base_path)
        with _model_server(base_path) as predict, _echo_server() as echo:
            targets = {"echo": (echo, ECHO_PATH), "predict": (predict, PREDICT.path)}
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
    return found[1:]  # the first round warms up


def _latencies(times: Round) -> dict[str, float]:
    return {
        name: statistics.median(
            seconds * 1e6 for process in processes for caller in process for seconds in caller
        )
        for name, processes in times.items()
    }


def _rates(times: Round) -> dict[str, float]:
    # Each caller asks again as soon as it has its answer.
    return {
        name: sum(len(caller) / sum(caller) for process in processes for caller in process)
        for name, processes in times.items()
    }


@contextmanager
def _clients(
    targets: Targets, request: bytes, calls: int, processes: int, threads: int
) -> Iterator[list[Any]]:
    """Processes that, when told a server's name, call it, and tell how long each call took."""
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
def _model_server(base_path: Path) -> Iterator[str]:
    address_file = base_path.parent / "address.json"
    process = subprocess.Popen(
        [
            *(
                sys.executable,
                "-m",
                "rockstar_serving.model_server",
                f"--model_base_path={base_path}",
            ),
            *("--host=127.0.0.1", "--port=auto", f"--address_file={address_file}"),
            "--prefer_tflite_model",
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
