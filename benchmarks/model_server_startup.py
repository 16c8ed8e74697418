"""Time of the embedded model server from a cold start to its first Predict over gRPC.

    python -m benchmarks.model_server_startup

Starts it with a logistic model in LiteRT, and measures the time from the start of the process to
the first response to a client that is already running. In turn with it, measures a Python process
that only imports gRPC, NumPy and LiteRT, the lower bound for such a server.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import click
import grpc
import numpy as np

from benchmarks.logistic import INPUT, PIXELS, make_logistic
from tfs_api.services import PREDICT
from tfs_api.tensors import to_proto

IMPORTS = "import grpc, numpy, ai_edge_litert.interpreter, google.protobuf.any_pb2"


@click.command()
@click.option("--rounds", default=15, type=click.IntRange(1))
def main(rounds: int) -> None:
    """Measure and print medians."""
    times: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        base_path = Path(folder) / "logistic"
        make_logistic(base_path)
        for measured in range(-1, rounds):
            first_predict = _first_predict(base_path)
            imports = _imports()
            if measured >= 0:  # the first round reads the files into the page cache
                times["first Predict"].append(first_predict)
                times["imports only"].append(imports)
    for name, values in times.items():
        click.echo(
            f"{name}: {statistics.median(values):.3f} s "
            f"({min(values):.3f} to {max(values):.3f}, {len(values)} starts)"
        )


def _first_predict(base_path: Path) -> float:
    request = PREDICT.request()
    request.model_spec.name = "default"
    request.inputs[INPUT].CopyFrom(to_proto(np.zeros((1, PIXELS), np.float32)))
    # A Unix socket, because a free port would be known only later.
    socket_path = base_path.parent / "server.sock"
    command = [
        *(sys.executable, "-m", "rockstar_serving.model_server", f"--model_base_path={base_path}"),
        *("--port=0", f"--grpc_socket_path={socket_path}", "--prefer_tflite_model"),
    ]
    started = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while not socket_path.exists():
            if process.poll() is not None:
                raise click.ClickException("the model server did not start")
            time.sleep(0.001)
        with grpc.insecure_channel(f"unix:{socket_path}") as channel:
            call: Any = channel.unary_unary(PREDICT.path)
            call(request.SerializeToString(), timeout=60, wait_for_ready=True)
        return time.perf_counter() - started
    finally:
        process.terminate()
        process.wait()


def _imports() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
