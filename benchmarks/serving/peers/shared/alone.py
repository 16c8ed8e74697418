"""The parts alone: the PNG decoder, and LiteRT without a server, as JSON.

    python alone.py IMAGE PROCESSES SECONDS

LiteRT's images per second are those of all processes together, which run at the same time.
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
    with spawn.Pool(processes, _prepare, (barrier,)) as pool:
        rates = pool.map(_rate, [(png, seconds)] * processes, chunksize=1)
    print(json.dumps({**found, "images_per_second": sum(rates)}))


def _each(call: Callable[[], Any], seconds: float) -> float:
    """Seconds that a call takes, the mean of many."""
    call()
    calls, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        call()
        calls += 1
    return passed / calls


def _prepare(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def _rate(arguments: tuple[bytes, float]) -> float:
    png, seconds = arguments
    model = from_environment()
    many = np.repeat(decode(png)[np.newaxis], BATCH, axis=0)
    model.predict(many)
    _barrier.wait(60)
    return BATCH / _each(lambda: model.predict(many), seconds)


if __name__ == "__main__":
    main()
