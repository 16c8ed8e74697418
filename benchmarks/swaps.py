"""Whether requests fail while versions are swapped, and what swaps leave in memory.

    python -m benchmarks.swaps --version demo/models/cnn/1 --swaps 200

Starts the embedded model server as a user does, publishes one version after another (copies of the
one given), and asks for predictions over gRPC and REST all the while. A swap is done when the new
version answers. Memory is the resident set of the server (Linux).
"""

import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import grpc
import numpy as np
import requests

from tfs_api import services
from tfs_api.messages.prediction_pb2 import (
    GetModelMetadataRequest,
    PredictRequest,
    SignatureDefMap,
)
from tfs_api.tensors import WIRE_TYPES, to_proto

# After so many swaps memory counts as settled.
FIRST = 10
# Between the requests of one caller: the load is bounded, lest the machine be what is measured.
PAUSE_S = 0.005


@dataclass
class Load:
    """What the callers did and saw."""

    answered: dict[str, int] = field(default_factory=lambda: {"gRPC": 0, "REST": 0})
    failures: list[str] = field(default_factory=list)
    newest: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, protocol: str, ask: Callable[[], int]) -> None:
        """Ask until told to stop; ask() gives the version that answered, or 0."""
        while not self.stop.wait(PAUSE_S):
            try:
                self.newest = max(self.newest, ask())
                self.answered[protocol] += 1
            except Exception as error:
                self.failures.append(f"{protocol}: {error}")


@click.command()
@click.option(
    "--version", default="demo/models/cnn/1", type=click.Path(exists=True, path_type=Path)
)
@click.option("--swaps", default=200, type=click.IntRange(FIRST + 1))
@click.option("--callers", default=2, type=click.IntRange(1), help="Of each protocol.")
@click.argument("flags", nargs=-1)
def main(version: Path, swaps: int, callers: int, flags: tuple[str, ...]) -> None:
    """Swap, ask and print; FLAGS (after --) are passed to the server."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2 * callers) as pool:
        base_path = Path(folder) / "model"
        publish(version, base_path, 1)
        with server(base_path, Path(folder) / "address.json", flags) as address:
            load = Load()
            running = [
                pool.submit(load.run, protocol, ask)
                for protocol, caller in (("gRPC", grpc_caller), ("REST", rest_caller))
                for ask in (caller(address) for _ in range(callers))
            ]
            try:
                memory = swap(version, base_path, swaps, load, address["pid"])
            finally:
                load.stop.set()
                wait(running)
    report(memory, load)


def swap(version: Path, base_path: Path, swaps: int, load: Load, pid: int) -> dict[int, float]:
    """Publish versions one after another; gives the memory in MB after each swap."""
    memory = {}
    for number in range(1, swaps + 1):
        publish(version, base_path, number + 1)
        deadline = time.monotonic() + 60
        while load.newest <= number:
            if time.monotonic() > deadline:
                raise click.ClickException(f"version {number + 1} was not served within 60 s")
            time.sleep(0.01)
        # As pruning does: what is served, and the one before it, stay.
        shutil.rmtree(base_path / str(number - 1), ignore_errors=True)
        memory[number] = resident(pid)
    return memory


def publish(version: Path, base_path: Path, number: int) -> None:
    """Copy a version aside, and give it its number in one step."""
    aside = base_path / "new"
    shutil.copytree(version, aside)
    aside.rename(base_path / str(number))


@contextmanager
def server(base_path: Path, address_file: Path, flags: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """A running model server, with its addresses and process id."""
    command = [
        *(sys.executable, "-m", "rockstar_serving.model_server", "--host=127.0.0.1"),
        *(f"--model_base_path={base_path}", "--port=auto", "--rest_api_port=auto"),
        *(f"--address_file={address_file}", *flags),
    ]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            while not address_file.exists():
                if process.poll() is not None:
                    raise click.ClickException(f"the server ended: {' '.join(command)}")
                time.sleep(0.01)
            yield json.loads(address_file.read_text())
        finally:
            process.send_signal(signal.SIGTERM)


def grpc_caller(address: dict[str, Any]) -> Callable[[], int]:
    """Asks for one prediction on zeros; gives the version that answered."""
    channel = grpc.insecure_channel(address["grpc"])
    request = PredictRequest()
    request.model_spec.name = "default"
    for name, array in zeros(channel).items():
        request.inputs[name].CopyFrom(to_proto(array))
    predict = channel.unary_unary(
        services.PREDICT.path,
        request_serializer=PredictRequest.SerializeToString,
        response_deserializer=services.PREDICT.parse_response,
    )
    return lambda: int(predict(request, timeout=30).model_spec.version.value)


def rest_caller(address: dict[str, Any]) -> Callable[[], int]:
    """Likewise; gives 0, because REST does not tell the version."""
    with grpc.insecure_channel(address["grpc"]) as channel:
        body = {"inputs": {name: array.tolist() for name, array in zeros(channel).items()}}
    session = requests.Session()
    url = f"http://{address['rest']}/v1/models/default:predict"

    def ask() -> int:
        session.post(url, json=body, timeout=30).raise_for_status()
        return 0

    return ask


def zeros(channel: grpc.Channel) -> dict[str, Any]:
    """An example of zeros for the inputs of serving_default."""
    request = GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "default"
    answer = channel.unary_unary(
        services.GET_MODEL_METADATA.path,
        request_serializer=GetModelMetadataRequest.SerializeToString,
        response_deserializer=services.GET_MODEL_METADATA.parse_response,
    )(request, timeout=30)
    signatures = SignatureDefMap.FromString(answer.metadata["signature_def"].value)
    return {
        name: np.zeros(
            [max(1, d.size) for d in info.tensor_shape.dim], WIRE_TYPES[info.dtype].dtype
        )
        for name, info in signatures.signature_def["serving_default"].inputs.items()
    }


def resident(pid: int) -> float:
    """Memory of a process in MB."""
    match = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) / 1024 if match else 0.0


def report(memory: dict[int, float], load: Load) -> None:
    """Print what was measured; ends with status 1 where a request failed."""
    click.echo("swaps  memory  of that after 10")
    last = max(memory)
    for number in sorted({1, FIRST, *range(50, last, 50), last}):
        share = f"{memory[number] / memory[FIRST]:.3f}" if number >= FIRST else ""
        click.echo(f"{number:5}  {memory[number]:3.0f} MB  {share}")
    for protocol, answered in load.answered.items():
        click.echo(f"{protocol}: {answered} requests answered")
    click.echo(f"{len(load.failures)} requests failed")
    for failure in sorted(set(load.failures)):
        click.echo(f"  {failure}")
    if load.failures:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
