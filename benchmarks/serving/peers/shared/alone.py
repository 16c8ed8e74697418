"""Measures the PNG decoder and LiteRT without a server, and prints JSON.

    python alone.py IMAGE PROCESSES SECONDS

The images per second are the sum over concurrent processes.
"""

import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from classifier import decode, from_environment

BATCH = 32


def main() -> None:
    """Measure and print."""
    png, processes, seconds = Path(sys.argv[1]).read_bytes(), int(sys.argv[2]), float(sys.argv[3])
    model = from_environment()
    one = decode(png)[np.newaxis]
    many = np.repeat(one, BATCH, axis=0)
    found = {
        "decode_ms": 1e3 * _each(lambda: decode(png), seconds / 4),
        "one_ms": 1e3 * _each(lambda: model.predict(one), seconds / 4),
        "batch_ms": 1e3 * _each(lambda: model.predict(many), seconds / 4),
    }
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(processes)
    rates = spawn.Queue()
    workers = [
        spawn.Process(target=_rate, args=(png, seconds, barrier, rates), daemon=True)
        for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    total = sum(rates.get(timeout=60 + seconds) for _ in workers)
    print(json.dumps({**found, "images_per_second": total}))


def _each(call: Callable[[], Any], seconds: float) -> float:
    """Mean seconds of a call."""
    call()
    calls, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        call()
        calls += 1
    return passed / calls


def _rate(png: bytes, seconds: float, barrier: Any, rates: Any) -> None:
    model = from_environment()
    many = np.repeat(decode(png)[np.newaxis], BATCH, axis=0)
    model.predict(many)
    barrier.wait(60)
    rates.put(BATCH / _each(lambda: model.predict(many), seconds))


if __name__ == "__main__":
    main()
