"""Throughput of `rockstar predict DIR -o out.csv`, compared with bare clients.

    rockstar serve &
    python -m benchmarks.bulk --model cnn --images DIR

A bare client is a thread per connection that posts prepared bodies and discards the responses
undecoded, with several batch sizes. `rockstar predict` reads, sends, decodes, orders and writes,
with its default settings unless options change them. Both take turns in each round, so that other
load on the machine affects both.
"""

import base64
import http.client
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import click

from rockstar_client.bulk.sources import Paths

# Images per request, and connections.
SETTINGS = ((64, 4), (64, 8), (128, 4), (128, 8), (256, 4), (256, 8))
BULK = "rockstar predict"

Rates = dict[str, list[float]]  # images per second in each round


@click.command()
@click.option("--url", default="http://127.0.0.1:8080", help="URL of the running service.")
@click.option("--model", required=True, help="Model name.")
@click.option("--images", required=True, type=click.Path(exists=True), help="Folder of images.")
@click.option("--repeat", default=20, type=click.IntRange(1), help="How often to send the folder.")
@click.option("--rounds", default=5, type=click.IntRange(1), help="Rounds of each client.")
@click.option("--batch", type=click.IntRange(1), help="`rockstar predict --batch`.")
@click.option("--concurrency", type=click.IntRange(1), help="`rockstar predict --concurrency`.")
def main(
    url: str,
    model: str,
    images: str,
    repeat: int,
    rounds: int,
    batch: int | None,
    concurrency: int | None,
) -> None:
    """Measure and print medians."""
    contents = [Path(item.name).read_bytes() for item in Paths([images])] * repeat
    options = {"--batch": batch, "--concurrency": concurrency}
    chosen = [f"{name}={value}" for name, value in options.items() if value is not None]
    command = ["predict", *[images] * repeat, "--url", url, "--model", model, *chosen]
    rates: Rates = {}
    with_start: list[float] = []
    for number in range(rounds + 1):
        found = {
            f"bare, {size} x {connections}": _bare(url, model, contents, size, connections)
            for size, connections in SETTINGS
        }
        found[BULK], seconds = _bulk(command)
        if number:  # the first round is a warm-up
            with_start.append(len(contents) / seconds)
            for name, rate in found.items():
                rates.setdefault(name, []).append(rate)
    _report(rates, with_start)


def _bare(url: str, model: str, contents: list[bytes], size: int, connections: int) -> float:
    bodies = [
        json.dumps({"instances": [base64.b64encode(each).decode() for each in batch]}).encode()
        for batch in (contents[start : start + size] for start in range(0, len(contents), size))
    ]
    remaining, lock = iter(bodies), threading.Lock()
    address = urlsplit(url).netloc
    threads = [
        threading.Thread(target=_post, args=(address, f"/predict/{model}?top=1", remaining, lock))
        for _ in range(connections)
    ]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(contents) / (time.perf_counter() - started)


def _post(address: str, path: str, bodies: Iterator[bytes], lock: threading.Lock) -> None:
    connection = http.client.HTTPConnection(address)
    while True:
        with lock:
            body = next(bodies, None)
        if body is None:
            return
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
        if response.status != http.client.OK:
            raise click.ClickException(f"{response.status}: {content[:300]!r}")


def _bulk(command: list[str]) -> tuple[float, float]:
    """Images per second according to the command's summary, and the seconds that it ran."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "rockstar_cli", *command, "-o", str(Path(folder) / "out.csv")],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - started
    rate = re.search(r"\(([\d,]+) items/s\)", done.stderr)
    if done.returncode or rate is None:
        raise click.ClickException(done.stderr)
    return float(rate[1].replace(",", "")), seconds


def _report(rates: Rates, with_start: list[float]) -> None:
    click.echo(f"{BULK:<20} {statistics.median(rates[BULK]):8,.0f} images/s")
    click.echo(f"{'… including startup':<20} {statistics.median(with_start):8,.0f} images/s")
    for name, found in rates.items():
        ratios = [ours / theirs for ours, theirs in zip(rates[BULK], found, strict=True)]
        if name != BULK:
            click.echo(
                f"{name:<20} {statistics.median(found):8,.0f} images/s, ratio of {BULK}: "
                f"{statistics.median(ratios):.2f} (rounds: {min(ratios):.2f} to {max(ratios):.2f})"
            )


if __name__ == "__main__":
    main()
