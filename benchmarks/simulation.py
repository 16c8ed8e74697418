"""Simulates gateway pods under load from measured unit costs: how many pods does a rate need?

    python -m benchmarks.simulation                   # compare with measurements, then size pods
    python -m benchmarks.simulation --rate 1000000

A discrete-event simulation (SimPy). A pod has CPUs and workers; a worker has an event loop, which
handles one thing at a time, and a thread for the model. A batch is whatever arrived during the last
one, up to 32 images; the event loop itself runs quick ones. Pods share nothing, so a large
installation is simulated by ten pods with their share of the load.

The costs below and the measurements that they are compared with are of `make bench ARGS='--systems
rockstar --one-worker --workloads png --connections 1,4,16,64'` on two cores of an AMD EPYC. There
the load generator shares the cores.
"""

import random
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import click
import numpy as np
import simpy

from rockstar_cli.output import table

# Connections, requests per second with one worker and with two, and mean batch size with two.
MEASURED = ((1, 746, 735, 1.0), (4, 1023, 1314, 1.1), (16, 1334, 1770, 3.3), (64, 1696, 2229, 13.4))
_LARGEST_BATCH = 32
# Quick batches run on the event loop: at most so many ms.
_QUICK = 3.0
_PODS = 10
# Of the gamma distribution of CPU times: a standard deviation of half the mean.
_SHAPE = 4

Process = Generator[simpy.Event, Any, None]


@dataclass(frozen=True)
class Costs:
    """CPU times in ms, of one PNG and the 3.3-million-parameter CNN (`--preset lecture`).

    Attributes:
        request: receive, decode, preprocess, log and respond, on the event loop.
        batch: hand a batch to its thread and its results back, on the event loop.
        run: run the model, whatever the number of images.
        image: run the model, for each image more.
        client: the load generator, per request, if it shares the cores.
    """

    request: float = 0.50
    batch: float = 0.42
    run: float = 0.18
    image: float = 0.29
    client: float = 0.08


class Pod:
    """Workers that share CPUs.

    Attributes:
        costs: CPU times of a request.
        latencies: in ms, of the requests that ended after the warm-up.
        batches: the sizes of the batches.
        busy: CPU time in ms.
        rejected: number of requests beyond the limit of concurrent ones.
    """

    def __init__(
        self, env: simpy.Environment, costs: Costs, cpus: int, workers: int, limit: int = 10**9
    ) -> None:
        self.latencies: list[float] = []
        self.batches: list[int] = []
        self.busy = 0.0
        self.rejected = 0
        self._env, self.costs, self._limit = env, costs, limit
        self._rng = random.Random(0)  # noqa: S311
        self._cpus = simpy.Resource(env, cpus)
        self._loops = [simpy.Resource(env, 1) for _ in range(workers)]
        self._arrived: list[simpy.Store] = [simpy.Store(env) for _ in range(workers)]
        self._in_flight = [0] * workers
        for worker in range(workers):
            env.process(self._run_batches(worker))

    def request(self, worker: int) -> Process:
        """One request to a worker, from its first byte to the last one of the response."""
        if self._in_flight[worker] >= self._limit:
            self.rejected += 1
            return
        self._in_flight[worker] += 1
        started, costs = self._env.now, self.costs
        yield from self._on_loop(worker, costs.request * 0.8)
        done = self._env.event()
        yield self._arrived[worker].put(done)
        yield done
        yield from self._on_loop(worker, costs.request * 0.2)
        self._in_flight[worker] -= 1
        self.latencies.append(self._env.now - started)

    def compute(self, milliseconds: float) -> Process:
        """Use one CPU as soon as one is free, for a time around the mean."""
        milliseconds *= self._rng.gammavariate(_SHAPE, 1 / _SHAPE)
        with self._cpus.request() as cpu:
            yield cpu
            yield self._env.timeout(milliseconds)
        self.busy += milliseconds

    def _on_loop(self, worker: int, milliseconds: float) -> Process:
        with self._loops[worker].request() as turn:
            yield turn
            yield from self.compute(milliseconds)

    def _run_batches(self, worker: int) -> Process:
        arrived, costs = self._arrived[worker], self.costs
        while True:
            batch = [(yield arrived.get())]
            # The event loop first handles what has already arrived.
            yield from self._on_loop(worker, costs.batch)
            while arrived.items and len(batch) < _LARGEST_BATCH:
                batch.append((yield arrived.get()))
            self.batches.append(len(batch))
            time = costs.run + costs.image * len(batch)
            yield from self._on_loop(worker, time) if time <= _QUICK else self.compute(time)
            for done in batch:
                done.succeed()


def closed(
    connections: int, workers: int, costs: Costs, seconds: float = 1.0, runs: int = 8
) -> tuple[float, float]:
    """Clients that send the next request after each response, spread at random over workers.

    Returns:
        Requests per second and the mean batch size, each as the mean of the runs.
    """
    rates, batches = [], []
    for run in range(runs):
        rng = random.Random(run)  # noqa: S311
        env = simpy.Environment()
        pod = Pod(env, costs, cpus=2, workers=workers)

        def client(worker: int, pod: Pod = pod) -> Process:
            while True:
                yield from pod.compute(pod.costs.client)
                yield from pod.request(worker)

        for _ in range(connections):
            env.process(client(rng.randrange(workers)))
        env.run(500.0)
        pod.latencies.clear()
        pod.batches.clear()
        env.run(500.0 + 1000.0 * seconds)
        rates.append(len(pod.latencies) / seconds)
        batches.append(np.mean(pod.batches))
    return float(np.mean(rates)), float(np.mean(batches))


@dataclass(frozen=True)
class Load:
    """What pods do at a rate: of one pod, on average.

    Attributes:
        p50, p99: latency in ms.
        cpu: share of the CPUs that is used.
        batch: mean number of images in a batch.
        rejected: share of requests that get 429.
    """

    p50: float
    p99: float
    cpu: float
    batch: float
    rejected: float


def opened(rate: float, pods: int, costs: Costs, seconds: float = 2.0, seed: int = 0) -> Load:
    """Clients that send at a rate per second, whatever happens, spread at random over workers."""
    env = simpy.Environment()
    rng = random.Random(seed)  # noqa: S311
    cpus = workers = 2
    # ROCKSTAR_THREADS and ROCKSTAR_QUEUE of a worker.
    group = [Pod(env, costs, cpus, workers, limit=32 + 64) for _ in range(pods)]

    def arrivals() -> Process:
        while True:
            yield env.timeout(rng.expovariate(rate / 1000))
            env.process(rng.choice(group).request(rng.randrange(workers)))

    env.process(arrivals())
    env.run(1000.0)
    for pod in group:
        pod.latencies.clear()
        pod.batches.clear()
        pod.busy, pod.rejected = 0.0, 0
    env.run(1000.0 * (1 + seconds))
    latencies = [each for pod in group for each in pod.latencies]
    rejected = sum(pod.rejected for pod in group)
    return Load(
        p50=float(np.percentile(latencies, 50)),
        p99=float(np.percentile(latencies, 99)),
        cpu=sum(pod.busy for pod in group) / (1000 * seconds * cpus * pods),
        batch=float(np.mean([size for pod in group for size in pod.batches])),
        rejected=rejected / (rejected + len(latencies)),
    )


def comparison(costs: Costs) -> list[tuple[str, ...]]:
    """Rows of measured and simulated throughput."""
    rows = []
    for connections, *measured, batch in MEASURED:
        row = [str(connections)]
        for workers, real in enumerate(measured, 1):
            simulated, mean = closed(connections, workers, costs)
            row += [f"{real:,}", f"{simulated:,.0f}", f"{simulated / real:.2f}"]
        rows.append((*row, f"{batch:.1f}", f"{mean:.1f}"))
    return rows


def sizes(rate: float, costs: Costs) -> list[tuple[str, ...]]:
    """Rows of what pods do if the rate is spread over more or fewer of them."""
    rows: list[tuple[str, ...]] = []
    for utilization in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2):
        # In batches of about three, as at 16 connections.
        per_pod = 2000 / (costs.request + costs.image + (costs.batch + costs.run) / 3) * utilization
        load = opened(per_pod * _PODS, _PODS, costs)
        rows.append(
            (
                f"{rate / per_pod:,.0f}",
                f"{per_pod:,.0f}",
                f"{load.cpu:.0%}",
                f"{load.batch:.1f}",
                f"{load.p50:.1f}",
                f"{load.p99:.0f}",
                f"{load.rejected:.1%}",
            )
        )
    return rows


@click.command()
@click.option("--rate", default=1_000_000.0, help="Predictions per second.")
def main(rate: float) -> None:
    """Compare the simulation with measurements, and print what a rate needs."""
    costs = Costs()
    click.echo("Two cores, shared with the load generator; requests per second\n")
    header = ("connections", "1 worker", "simulated", "ratio", "2 workers", "simulated", "ratio")
    click.echo(table([(*header, "batch", "simulated"), *comparison(costs)]))
    click.echo(f"\n{rate:,.0f} predictions per second, pods with two CPUs and two workers\n")
    header = ("pods", "each per s", "CPU", "batch", "p50 ms", "p99 ms", "rejected")
    click.echo(table([header, *sizes(rate, replace(costs, client=0.0))]))


if __name__ == "__main__":
    main()
