"""Throughput and latency of a model with and without batching.

    python -m benchmarks.batching --models demo/models [--model cnn] [--callers 16 …] [--rounds 5]

Each caller sends one example after the other over gRPC, without a pause. Model servers with the
settings below run side by side and are measured in turn, so that other load affects all alike. With
--engine, the callers are threads that call the engine directly: batching without the network.
Callers and server share the machine's cores, so the figures compare settings; they are not the
highest possible speed of either.
"""

import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import grpc
import numpy as np

from benchmarks.model_servers import model_server
from rockstar_contract.version_folders import served_versions
from rockstar_serving.model_server.batching import BatchingEngine, Scheduler
from rockstar_serving.model_server.batching_parameters import read_parameters
from rockstar_serving.model_server.engines.litert import LiteRTEngine
from tfs_api.services import PREDICT
from tfs_api.signature import DEFAULT_SIGNATURE
from tfs_api.tensors import to_proto

Predict = Callable[[], object]

# Contents of --batching_parameters_file; None for a server without batching.
WITHOUT = "without"
SETTINGS: Mapping[str, str | None] = {
    WITHOUT: None,
    "defaults": "",
    "one thread": "num_batch_threads { value: 1 }",
    "one thread, few sizes": "num_batch_threads { value: 1 } max_batch_size { value: 64 } "
    "allowed_batch_sizes: [1, 2, 4, 8, 16, 32, 64]",
    "one thread, 1 ms": "num_batch_threads { value: 1 } batch_timeout_micros { value: 1000 }",
}


@dataclass
class Figures:
    """Requests per second of each round and latencies in seconds, for a setting and callers."""

    throughputs: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)

    def cells(self, without: "Figures") -> str:
        """Table cells: median throughput and its spread, its ratio to `without`, latencies.

        The ratio is the median of the rounds' ratios.
        """
        p50, p99 = np.percentile(self.latencies, [50, 99]) * 1e3
        low, high = min(self.throughputs), max(self.throughputs)
        middle = statistics.median(self.throughputs)
        ratio = statistics.median(
            ours / theirs
            for ours, theirs in zip(self.throughputs, without.throughputs, strict=True)
        )
        return f"{middle:.0f} ({low:.0f} to {high:.0f}) | {ratio:.2f} | {p50:.2f} | {p99:.2f}"


@click.command()
@click.option("--models", default="demo/models", type=click.Path(exists=True, path_type=Path))
@click.option("--model", default="cnn")
@click.option("--callers", multiple=True, type=click.IntRange(1), default=(1, 4, 16, 64))
@click.option("--rounds", default=5, type=click.IntRange(1))
@click.option("--seconds", default=1.0, help="Duration of a setting in each round.")
@click.option("--engine", is_flag=True, help="Call the engine directly instead of a server.")
def main(
    models: Path, model: str, callers: Sequence[int], rounds: int, seconds: float, engine: bool
) -> None:
    """Measure and print a Markdown table."""
    base_path = (models / model).absolute()
    version = max(served_versions(base_path).items())[1]
    serve = _engine if engine else _server
    figures: dict[tuple[int, str], Figures] = defaultdict(Figures)
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        predicts = {}
        for name, text in SETTINGS.items():
            file = Path(folder) / f"{name}.pbtxt"
            file.write_text(text or "")
            predicts[name] = stack.enter_context(serve(version, None if text is None else file))
        for _ in range(rounds):
            for count in callers:
                for name, predict in predicts.items():
                    _measure(predict, count, seconds, figures[count, name])
    click.echo("| callers | batching | requests per second | ratio | p50, ms | p99, ms |")
    click.echo("| --: | --- | --: | --: | --: | --: |")
    for (count, name), each in sorted(figures.items(), key=lambda item: item[0][0]):
        click.echo(f"| {count} | {name} | {each.cells(figures[count, WITHOUT])} |")


def _measure(predict: Predict, callers: int, seconds: float, figures: Figures) -> None:
    predict()
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    def call() -> None:
        own = []
        while (started := time.perf_counter()) < end:
            predict()
            own.append(time.perf_counter() - started)
        latencies.extend(own)

    threads = [threading.Thread(target=call) for _ in range(callers)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    figures.throughputs.append(len(latencies) / (time.perf_counter() - started))
    figures.latencies += latencies


@contextmanager
def _engine(version: Path, parameters: Path | None) -> Iterator[Predict]:
    engine: LiteRTEngine | BatchingEngine = LiteRTEngine(version)
    if parameters is not None:
        batching = read_parameters(parameters)
        scheduler = Scheduler(batching.threads, batching.thread_pool_name)
        engine = BatchingEngine(engine, scheduler, batching.queue)
    feeds, fetches = _example(version)
    yield lambda: engine.run(DEFAULT_SIGNATURE, feeds, fetches)
    engine.close()


@contextmanager
def _server(version: Path, parameters: Path | None) -> Iterator[Predict]:
    request = PREDICT.request()
    request.model_spec.name = "default"
    for name, array in _example(version)[0].items():
        request.inputs[name].CopyFrom(to_proto(array))
    flags = [f"--model_base_path={version.parent}"]
    if parameters is not None:
        flags += ["--enable_batching", f"--batching_parameters_file={parameters}"]
        # Only requests that have a thread can be batched.
        flags.append("--grpc_max_threads=64")
    with model_server(*flags) as address, grpc.insecure_channel(address["grpc"]) as channel:
        predict: Callable[..., Any] = channel.unary_unary(
            PREDICT.path, request_serializer=PREDICT.request.SerializeToString
        )
        yield lambda: predict(request, timeout=60)


def _example(version: Path) -> tuple[dict[str, Any], list[str]]:
    """Feeds of one random example, and the fetches."""
    engine = LiteRTEngine(version)
    signature = engine.signatures[DEFAULT_SIGNATURE]
    engine.close()
    random = np.random.default_rng(0)
    feeds = {
        name: random.random([max(1, size) for size in spec.shape or ()]).astype(spec.dtype)
        for name, spec in signature.inputs.items()
    }
    return feeds, list(signature.outputs)


if __name__ == "__main__":
    main()
