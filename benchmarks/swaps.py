"""Failed requests and memory growth while versions are swapped.

    python -m benchmarks.swaps --version demo/models/cnn/1 --swaps 200

Starts the embedded model server, publishes one version after another (copies of the given one), and
requests predictions over gRPC and REST throughout. A swap is done when the new version responds.
Memory is the server's resident set (Linux).
"""

import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import grpc
import numpy as np
import requests

from benchmarks.model_servers import model_server
from tfs_api import services
from tfs_api.messages.prediction_pb2 import (
    GetModelMetadataRequest,
    PredictRequest,
    SignatureDefMap,
)
from tfs_api.tensors import WIRE_TYPES, to_proto

# Swaps until memory counts as settled.
FIRST = 10
# Between requests of one caller, so that the load does not saturate the machine.
PAUSE_S = 0.005


@dataclass
class Load:
    """Results of the callers."""

    succeeded: dict[str, int] = field(default_factory=lambda: {"gRPC": 0, "REST": 0})
    failures: list[str] = field(default_factory=list)
    newest: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, protocol: str, predict: Callable[[], int]) -> None:
        """Call `predict`, which returns the version that responded or 0, until stopped."""
        while not self.stop.wait(PAUSE_S):
            try:
                self.newest = max(self.newest, predict())
                self.succeeded[protocol] += 1
            except Exception as error:
                self.failures.append(f"{protocol}: {error}")


@click.command()
@click.option(
    "--version", default="demo/models/cnn/1", type=click.Path(exists=True, path_type=Path)
)
@click.option("--swaps", default=200, type=click.IntRange(FIRST + 1))
@click.option("--callers", default=2, type=click.IntRange(1), help="Callers of each protocol.")
@click.argument("flags", nargs=-1)
def main(version: Path, swaps: int, callers: int, flags: tuple[str, ...]) -> None:
    """Swap versions under load and print the results; FLAGS (after --) go to the server."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2 * callers) as pool:
        base_path = Path(folder) / "model"
        publish(version, base_path, 1)
        flags = f"--model_base_path={base_path}", "--rest_api_port=auto", *flags
        with model_server(*flags) as address:
            load = Load()
            running = [
                pool.submit(load.run, protocol, predict)
                for protocol, caller in (("gRPC", grpc_caller), ("REST", rest_caller))
                for predict in (caller(address) for _ in range(callers))
            ]
            try:
                memory = swap(version, base_path, swaps, load, address["pid"])
            finally:
                load.stop.set()
                wait(running)
    report(memory, load)


def swap(version: Path, base_path: Path, swaps: int, load: Load, pid: int) -> dict[int, float]:
    """Publish versions one after another; returns the memory in MB after each swap."""
    memory = {}
    for number in range(1, swaps + 1):
        publish(version, base_path, number + 1)
        deadline = time.monotonic() + 60
        while load.newest <= number:
            if time.monotonic() > deadline:
                raise click.ClickException(f"version {number + 1} was not served within 60 s")
            time.sleep(0.01)
        # Like pruning: keeps the served version and the one before it.
        shutil.rmtree(base_path / str(number - 1), ignore_errors=True)
        memory[number] = resident(pid)
    return memory


def publish(version: Path, base_path: Path, number: int) -> None:
    """Copy a version, and rename the copy to its number in one step."""
    aside = base_path / "new"
    shutil.copytree(version, aside)
    aside.rename(base_path / str(number))


def grpc_caller(address: dict[str, Any]) -> Callable[[], int]:
    """A function that predicts zeros over gRPC and returns the version that responded."""
    channel = grpc.insecure_channel(address["grpc"])
    request = PredictRequest()
    request.model_spec.name = "default"
    for name, array in zeros(channel).items():
        request.inputs[name].CopyFrom(to_proto(array))
    predict = channel.unary_unary(
        services.PREDICT.path,
        request_serializer=PredictRequest.SerializeToString,
        response_deserializer=services.PREDICT.response.FromString,
    )
    return lambda: int(predict(request, timeout=30).model_spec.version.value)


def rest_caller(address: dict[str, Any]) -> Callable[[], int]:
    """The same over REST; returns 0, because REST responses do not name the version."""
    with grpc.insecure_channel(address["grpc"]) as channel:
        body = {"inputs": {name: array.tolist() for name, array in zeros(channel).items()}}
    session = requests.Session()
    url = f"http://{address['rest']}/v1/models/default:predict"

    def predict() -> int:
        session.post(url, json=body, timeout=30).raise_for_status()
        return 0

    return predict


def zeros(channel: grpc.Channel) -> dict[str, Any]:
    """One example of zeros for each input of serving_default."""
    request = GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "default"
    response = channel.unary_unary(
        services.GET_MODEL_METADATA.path,
        request_serializer=GetModelMetadataRequest.SerializeToString,
        response_deserializer=services.GET_MODEL_METADATA.response.FromString,
    )(request, timeout=30)
    signatures = SignatureDefMap.FromString(response.metadata["signature_def"].value)
    return {
        name: np.zeros(
            [max(1, d.size) for d in info.tensor_shape.dim], WIRE_TYPES[info.dtype].dtype
        )
        for name, info in signatures.signature_def["serving_default"].inputs.items()
    }


def resident(pid: int) -> float:
    """Resident set of a process in MB."""
    match = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) / 1024 if match else 0.0


def report(memory: dict[int, float], load: Load) -> None:
    """Print the results; exits with status 1 if a request failed."""
    click.echo(f"swaps  memory  ratio to swap {FIRST}")
    last = max(memory)
    for number in sorted({1, FIRST, *range(50, last, 50), last}):
        share = f"{memory[number] / memory[FIRST]:.3f}" if number >= FIRST else ""
        click.echo(f"{number:5}  {memory[number]:3.0f} MB  {share}")
    for protocol, succeeded in load.succeeded.items():
        click.echo(f"{protocol}: {succeeded} requests succeeded")
    click.echo(f"{len(load.failures)} requests failed")
    for failure in sorted(set(load.failures)):
        click.echo(f"  {failure}")
    if load.failures:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
