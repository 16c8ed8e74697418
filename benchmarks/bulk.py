"""What `rockstar predict DIR -o out.csv` gets out of a service, beside the most that one can get.

    rockstar serve &
    python -m benchmarks.bulk --model cnn --images DIR

The most is asked by bare clients: as many threads as there are connections post bodies that were
made beforehand and throw the answers away undecoded, in several batch sizes. `rockstar predict`
reads, sends, decodes, orders and writes, with its default settings unless told otherwise. Both take
turns in each round, so that what else the machine does hits both.
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

# Items in a request, and connections.
SETTINGS = ((64, 4), (64, 8), (128, 4), (128, 8), (256, 4), (256, 8))
BULK = "rockstar predict"

Rates = dict[str, list[float]]  # images per second, of each round


@click.command()
@click.option("--url", default="http://127.0.0.1:8080", help="The running service.")
@click.option("--model", required=True, help="Name.")
@click.option("--images", required=True, type=click.Path(exists=True), help="A folder of them.")
@click.option("--repeat", default=20, type=click.IntRange(1), help="How often to send the folder.")
@click.option("--rounds", default=5, type=click.IntRange(1), help="Of each.")
@click.option("--batch", type=click.IntRange(1), help="Of `rockstar predict`; else its default.")
@click.option("--concurrency", type=click.IntRange(1), help="Likewise.")
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
    whole: list[float] = []
    for number in range(rounds + 1):
        found = {
            f"bare, {size} x {connections}": _bare(url, model, contents, size, connections)
            for size, connections in SETTINGS
        }
        found[BULK], seconds = _bulk(command)
        if number:  # the first round warms up
            whole.append(len(contents) / seconds)
            for name, rate in found.items():
                rates.setdefault(name, []).append(rate)
    _report(rates, whole)


def _bare(url: str, model: str, contents: list[bytes], size: int, connections: int) -> float:
    bodies = [
        json.dumps({"instances": [base64.b64encode(each).decode() for each in batch]}).encode()
        for batch in (contents[start : start + size] for start in range(0, len(contents), size))
    ]
    left, lock = iter(bodies), threading.Lock()
    place = urlsplit(url).netloc
    threads = [
        threading.Thread(target=_post, args=(place, f"/predict/{model}?top=1", left, lock))
        for _ in range(connections)
    ]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(contents) / (time.perf_counter() - started)


def _post(place: str, path: str, bodies: Iterator[bytes], lock: threading.Lock) -> None:
    connection = http.client.HTTPConnection(place)
    while True:
        with lock:
            body = next(bodies, None)
        if body is None:
            return
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        if response.status != http.client.OK:
            raise click.ClickException(f"{response.status}: {answer[:300]!r}")


def _bulk(command: list[str]) -> tuple[float, float]:
    """Images per second by the command's own summary, and seconds from its start to its end."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "rockstar_cli", *command, "-o", str(Path(folder) / "out.csv")],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - started
    said = re.search(r"\(([\d,]+) items/s\)", done.stderr)
    if done.returncode or said is None:
        raise click.ClickException(done.stderr)
    return float(said[1].replace(",", "")), seconds


def _report(rates: Rates, whole: list[float]) -> None:
    click.echo(f"{BULK:<20} {statistics.median(rates[BULK]):8,.0f} images/s")
    click.echo(f"{'with its start':<20} {statistics.median(whole):8,.0f} images/s")
    for name, found in rates.items():
        ratios = [ours / theirs for ours, theirs in zip(rates[BULK], found, strict=True)]
        if name != BULK:
            click.echo(
                f"{name:<20} {statistics.median(found):8,.0f} images/s, {BULK} against it: "
                f"{statistics.median(ratios):.2f} (rounds: {min(ratios):.2f} to {max(ratios):.2f})"
            )


if __name__ == "__main__":
    main()
