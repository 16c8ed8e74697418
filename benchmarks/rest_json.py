"""What REST predict of 1,000 x 784 floats as JSON costs, and where the time goes.

    python -m benchmarks.rest_json [--requests 40]

Exports a logistic model (784 in, 10 out) to LiteRT, starts `rockstar model-server` as a user
does, and asks it over one kept connection, one request after the other. Then it asks a second
server, the same program with a clock around its stages (benchmarks/rest_profile.py): processor time
of each stage in its thread, against that of the whole process, the kernel's share included.

Floats are sent in two ways: as `json.dumps` writes float32 values that became Python floats (17
digits), and rounded to four digits, as many a client writes pixels and measurements.
"""

import http.client
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.rest_profile import LIBRARY, MODEL

ROWS, SIZE, CLASSES = 1000, 784, 10
SERVER = "rockstar_serving.model_server"
WARM_UP = 5


@click.command()
@click.option("--requests", default=40, type=click.IntRange(1), help="Of each kind.")
def main(requests: int) -> None:
    """Measure and print medians."""
    rows = np.random.default_rng(0).random((ROWS, SIZE), np.float32)
    bodies = {
        f"{ROWS} x {SIZE}, 17 digits": rows.astype(float),
        f"{ROWS} x {SIZE}, 4 digits": np.round(rows.astype(float), 4),
        f"1 x {SIZE}, 17 digits": rows[:1].astype(float),
    }
    texts = {what: json.dumps({"instances": v.tolist()}).encode() for what, v in bodies.items()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _export(folder / "logistic" / "1")
        with _serving(folder, SERVER) as connection:
            for what, body in texts.items():
                click.echo(
                    f"{what}: {len(body) / 1e6:.2f} MB, {_latency(connection, body, requests)}"
                )
        profile = folder / "profile"
        with _serving(folder, "benchmarks.rest_profile", str(profile)) as connection:
            for what, body in texts.items():
                _latency(connection, body, requests)
                _show(what, profile, requests)


def _export(version_folder: Path) -> None:
    import tensorflow as tf

    random = np.random.default_rng(1)
    weights = tf.constant(random.normal(scale=0.05, size=(SIZE, CLASSES)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, SIZE], name="image")])  # type: ignore[untyped-decorator]
    def predict(image: Any) -> Any:
        return {"probabilities": tf.nn.softmax(image @ weights)}

    version_folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(tf.Module(), folder, signatures={"serving_default": predict})
        model = tf.lite.TFLiteConverter.from_saved_model(folder).convert()
    (version_folder / "model.tflite").write_bytes(model)


@contextmanager
def _serving(folder: Path, module: str, *arguments: str) -> Iterator[http.client.HTTPConnection]:
    address = folder / f"address of {module}"
    command = [sys.executable, "-m", module, *arguments, "--host=127.0.0.1", "--port=0"]
    model = ["--model_name=logistic", f"--model_base_path={folder}/logistic"]
    rest = ["--rest_api_port=auto", f"--address_file={address}"]
    with subprocess.Popen([*command, *model, *rest], stderr=subprocess.DEVNULL) as server:
        try:
            while not address.exists():
                if server.poll() is not None:
                    raise click.ClickException(f"{module} did not start")
                time.sleep(0.02)
            connection = http.client.HTTPConnection(json.loads(address.read_text())["rest"])
            yield connection
            connection.close()
        finally:
            server.send_signal(signal.SIGTERM)


def _latency(connection: http.client.HTTPConnection, body: bytes, requests: int) -> str:
    times = []
    for _ in range(WARM_UP + requests):
        started = time.perf_counter()
        connection.request("POST", "/v1/models/logistic:predict", body)
        response = connection.getresponse()
        answer = response.read()
        times.append((time.perf_counter() - started) * 1000)
        if response.status != http.HTTPStatus.OK:
            raise click.ClickException(answer.decode())
    times = times[WARM_UP:]
    return f"answered in {statistics.median(times):.2f} ms (median; best {min(times):.2f})"


def _show(what: str, profile: Path, requests: int) -> None:
    lines = [json.loads(line) for line in profile.read_text().splitlines()[-requests:]]
    stages = dict(sorted(lines, key=lambda line: float(line["total"]))[len(lines) // 2])
    total = stages.pop("total")
    stages["rest of the server"] = total - sum(stages.values())
    click.echo(f"\n{what}: {total:.2f} ms of processor time (the median request)")
    for stage, spent in sorted(stages.items(), key=lambda item: -item[1]):
        click.echo(f"  {stage:<20} {spent:7.2f} ms  {spent / total:6.1%}")
    share = sum(line[LIBRARY] + line[MODEL] for line in lines) / sum(ln["total"] for ln in lines)
    click.echo(f"  in the JSON library and the model, over all requests: {share:.1%}")


if __name__ == "__main__":
    main()
