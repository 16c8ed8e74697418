"""Cost of REST predict with 1,000 x 784 floats as JSON, by stage.

    python -m benchmarks.rest_json [--requests 40]

Starts the model server with a logistic model in LiteRT and sends one request after the other over
one connection. Then does the same with benchmarks/rest_profile.py, the same program with its stages
timed: CPU time of each stage in its thread, compared with that of the whole process including the
kernel.

Floats are sent in two forms: with up to 17 digits, as `json.dumps` writes float32 values that were
converted to Python floats, and rounded to four digits, as many clients send pixels and
measurements.
"""

import http.client
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click
import numpy as np

from benchmarks.logistic import PIXELS, make_logistic
from benchmarks.model_servers import PROGRAM, model_server
from benchmarks.rest_profile import LIBRARY, MODEL

ROWS = 1000
WARM_UP = 5


@click.command()
@click.option("--requests", default=40, type=click.IntRange(1), help="Requests of each kind.")
def main(requests: int) -> None:
    """Measure and print medians."""
    rows = np.random.default_rng(0).random((ROWS, PIXELS), np.float32)
    bodies = {
        f"{ROWS} x {PIXELS}, 17 digits": rows.astype(float),
        f"{ROWS} x {PIXELS}, 4 digits": np.round(rows.astype(float), 4),
        f"1 x {PIXELS}, 17 digits": rows[:1].astype(float),
    }
    texts = {what: json.dumps({"instances": v.tolist()}).encode() for what, v in bodies.items()}
    with tempfile.TemporaryDirectory() as name:
        base_path, profile = Path(name) / "logistic", Path(name) / "profile"
        make_logistic(base_path)
        with _connection(base_path, PROGRAM) as connection:
            for what, body in texts.items():
                click.echo(
                    f"{what}: {len(body) / 1e6:.2f} MB, {_latency(connection, body, requests)}"
                )
        with _connection(base_path, ("benchmarks.rest_profile", str(profile))) as connection:
            for what, body in texts.items():
                _latency(connection, body, requests)
                _show(what, profile, requests)


@contextmanager
def _connection(base_path: Path, program: tuple[str, ...]) -> Iterator[http.client.HTTPConnection]:
    flags = f"--model_base_path={base_path}", "--rest_api_port=auto", "--prefer_tflite_model"
    with (
        model_server(*flags, program=program) as address,
        closing(http.client.HTTPConnection(address["rest"])) as connection,
    ):
        yield connection


def _latency(connection: http.client.HTTPConnection, body: bytes, requests: int) -> str:
    times = []
    for _ in range(WARM_UP + requests):
        started = time.perf_counter()
        connection.request("POST", "/v1/models/default:predict", body)
        response = connection.getresponse()
        content = response.read()
        times.append((time.perf_counter() - started) * 1000)
        if response.status != http.HTTPStatus.OK:
            raise click.ClickException(content.decode())
    times = times[WARM_UP:]
    return f"median {statistics.median(times):.2f} ms, fastest {min(times):.2f} ms"


def _show(what: str, profile: Path, requests: int) -> None:
    lines = [json.loads(line) for line in profile.read_text().splitlines()[-requests:]]
    stages = dict(sorted(lines, key=lambda line: float(line["total"]))[len(lines) // 2])
    total = stages.pop("total")
    stages["rest of the server"] = total - sum(stages.values())
    click.echo(f"\n{what}: {total:.2f} ms of CPU time (the median request)")
    for stage, spent in sorted(stages.items(), key=lambda item: -item[1]):
        click.echo(f"  {stage:<20} {spent:7.2f} ms  {spent / total:6.1%}")
    share = sum(line[LIBRARY] + line[MODEL] for line in lines) / sum(ln["total"] for ln in lines)
    click.echo(f"  JSON library and model, over all requests: {share:.1%}")


if __name__ == "__main__":
    main()
