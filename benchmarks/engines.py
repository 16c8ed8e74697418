"""Measures `rockstar predict --engine` with one and two local workers.

    python -m benchmarks.engines --models models --model cnn --images photos --rounds 3

Prints the median of items per second from the start of the first worker to the end, and of the
whole command with its start, which takes most of the time of few items. Ray and Spark need
`pip install 'rockstartf[ray,spark]'` and Java 17; those that are missing are left out.
"""

import argparse
import importlib.util
import re
import statistics
import subprocess
import sys
import tempfile
import time

PACKAGES = {"local": "pyarrow", "ray": "ray", "spark": "pyspark"}


def measure(options: argparse.Namespace, engine: str, workers: int) -> tuple[float, float]:
    """Predict once; returns items per second, and seconds of the whole command."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "rockstar_cli", "predict", "--engine", engine]
        command += [f"--models={options.models}", f"--model={options.model}", f"--output={out}"]
        command += [f"--workers={workers}", f"--batch={options.batch}", options.images]
        started = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - started
    found = re.search(r"\(([\d,]+) items/s\): ", done.stderr)
    if found is None:
        raise SystemExit(f"{engine} failed:\n{done.stderr}")
    return float(found[1].replace(",", "")), seconds


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="models")
    parser.add_argument("--model", required=True)
    parser.add_argument("--images", required=True, help="a folder, or a Parquet file")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print("| engine | workers | items/s | seconds with the start |")
    print("| --- | --- | --- | --- |")
    for engine, package in PACKAGES.items():
        if importlib.util.find_spec(package) is None:
            print(f"{engine}: {package} is not installed", file=sys.stderr)
            continue
        for workers in (1, 2):
            runs = [measure(options, engine, workers) for _ in range(options.rounds)]
            rate, seconds = (statistics.median(each) for each in zip(*runs, strict=True))
            print(f"| {engine} | {workers} | {rate:,.0f} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
