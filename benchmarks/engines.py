"""Measures `rockstar predict --engine` with one and two local workers.

    python -m benchmarks.engines --models models --model cnn --images photos --rounds 3

Prints medians: items per second from the start of the first worker to the end; of the whole
command, whose start takes most of the time of few items, the seconds, and the processor time of
its child processes per item, which other load on the machine changes least. Ray and Spark need
`pip install 'rockstartf[ray,spark]'` and Java 17; those that are missing are left out.
"""

import argparse
import importlib.util
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

PACKAGES = {"local": "pyarrow", "ray": "ray", "spark": "pyspark"}


def measure(options: argparse.Namespace, engine: str, workers: int) -> tuple[float, float, float]:
    """Predict once; returns items per second, and seconds and CPU ms per item of the command."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "rockstar_cli", "predict", "--engine", engine]
        command += [f"--models={options.models}", f"--model={options.model}", f"--output={out}"]
        command += [f"--workers={workers}", f"--batch={options.batch}", options.images]
        started, before = time.monotonic(), os.times()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds, after = time.monotonic() - started, os.times()
    found = re.search(r"^([\d,]+) items, .* \(([\d,]+) items/s\): ", done.stderr, re.MULTILINE)
    if found is None:
        raise SystemExit(f"{engine} failed:\n{done.stderr}")
    items, rate = (float(each.replace(",", "")) for each in found.groups())
    used = after.children_user + after.children_system
    used -= before.children_user + before.children_system
    return rate, seconds, 1000 * used / items


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="models")
    parser.add_argument("--model", required=True)
    parser.add_argument("--images", required=True, help="a folder, or a Parquet file")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print("| engine | workers | items/s | seconds with the start | CPU ms per item |")
    print("| --- | --- | --- | --- | --- |")
    for engine, package in PACKAGES.items():
        if importlib.util.find_spec(package) is None:
            print(f"{engine}: {package} is not installed", file=sys.stderr)
            continue
        for workers in (1, 2):
            runs = [measure(options, engine, workers) for _ in range(options.rounds)]
            rate, seconds, cpu = (statistics.median(each) for each in zip(*runs, strict=True))
            print(f"| {engine} | {workers} | {rate:,.0f} | {seconds:.1f} | {cpu:.2f} |", flush=True)


if __name__ == "__main__":
    main()
