"""Predicts with each engine of bulk prediction, and compares with a service, example by example.

    make engines-test                     10,000 images and 10,000 rows, in about ten minutes
    make engines-test ARGS='ray -n 500'   less
    make engines-test ARGS=tune           `rockstar tune` only

Runs `rockstar predict --engine`, the examples with Ray Data, Spark (Java 17) and Beam, and
`rockstar tune` in an environment of its own, because these packages are large. If no package index
can be reached, it says so and tests nothing.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow.parquet as pq

from rockstar_contract.manifest import write_manifest
from tests.command_line import serving
from tests.contracts import make_contract
from tests.integration.engines.inputs import write_images, write_rows
from tests.model_fixtures import write_linear
from tests.table_models import regression
from tests.versions import NoIndexError, install

ROOT = Path(__file__).parents[1]
BROKEN = 3


def write_inputs(folder: Path, count: int) -> None:
    """Models, images and rows."""
    weights = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    table = np.array([[1.0], [0.0], [1.0], [2.0]], np.float32)
    for contract, values in [(make_contract(), weights), (regression(model="price"), table)]:
        write_manifest(write_linear(folder / "models", contract, values))
    write_images(folder / "images", count, broken=BROKEN)
    write_rows(folder / "rows.parquet", count, group=1000)


def predict_with_service(folder: Path) -> None:
    """Write the predictions of a service, and its errors."""
    ports = ("--port", 0, "--grpc-port", 0, "--rest-port", 0)
    with serving("serve", "--models", folder / "models", *ports, log=folder / "log") as service:
        for model, source in (("toy", "images"), ("price", "rows.parquet")):
            command = [sys.executable, "-m", "rockstar_cli", "predict", "--url", service["http"]]
            out = ["--model", model, str(folder / source), "-o", str(folder / f"{model}.parquet")]
            done = subprocess.run([*command, *out], check=False, cwd=ROOT)
            assert done.returncode in (0, 4)


def compare(folder: Path, model: str, out: Path) -> None:
    """Compare with the service: images by name, rows in the order of their values.

    Scores are rounded differently in other batches.
    """
    expected = pq.read_table(folder / f"{model}.parquet").to_pylist()
    failed = (folder / f"{model}.parquet.failed.jsonl").read_text().splitlines()
    # Beam writes files beside each other, the others a folder.
    files = [*out.parent.glob(f"{out.name}-*.parquet"), *out.rglob("*.parquet")]
    found = [row for file in files for row in pq.read_table(file).to_pylist()]
    good = [row for row in found if row["error"] is None]
    assert (len(good), len(found) - len(good)) == (len(expected), len(failed))
    if model == "price":
        here, there = (sorted(row["value"] for row in rows) for rows in (good, expected))
        np.testing.assert_allclose(here, there, atol=1e-6)
        return
    by_name = {Path(row["item"]).name: row for row in expected}
    for row in good:
        # Spark's paths are URLs.
        same = by_name.pop(Path(unquote(row.get("item") or row["path"])).name)
        assert row["label"] == same["label"]
        assert abs(row["score"] - same["score"]) < 1e-6


def require_clear_error(python: Path | str, folder: Path) -> None:
    """Spark without Java says so in a line. (Ray waits for a cluster that does not respond.)"""
    models = ["--models", str(folder / "models"), "--model", "toy", str(folder / "images")]
    command = [python, "-m", "rockstar_cli", "predict", "--engine", "spark", *models]
    environ = os.environ | {"PYTHONPATH": str(ROOT), "JAVA_HOME": "/nowhere"}
    out = ["-o", str(folder / "without-java")]
    done = subprocess.run([*command, *out], capture_output=True, text=True, env=environ)
    assert done.returncode == 1, done.stderr
    assert "\nError: Spark does not start: " in f"\n{done.stderr}", done.stderr


def tune(python: Path | str, folder: Path) -> None:
    """Search settings, and check that bad trials end early and the best one can be repeated."""
    command = [python, "-m", "rockstar_cli", "tune", "logistic", "--epochs=18", "--batch-size=64"]

    def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
        words = map(str, arguments)
        return subprocess.run([*words], check=False, capture_output=True, text=True, cwd=folder)

    for wrong, message in [
        (["--learning-rate=1"], "nothing to search: leave out one of learning_rate"),
        (["--cpus=4096"], "cpus: expected at most "),
    ]:
        done = run(*command, *wrong)
        assert done.returncode in (1, 2), done.stdout
        assert message in done.stderr, done.stderr
    # A relative path, as trials have another current folder.
    (folder / "work").mkdir()
    dry = run(*command, "--trials=6", "--workdir=work", "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    assert not (folder / "work" / "models" / "logistic").exists()
    # The same command continues: nothing is left to train.
    done = run(*command, "--trials=6", "--workdir=work", "--json")
    assert done.returncode == 0, done.stderr
    document, earlier = json.loads(done.stdout), json.loads(dry.stdout)
    assert document["trials"] == earlier["trials"]
    states = [trial["state"] for trial in document["trials"]]
    assert len(states) == 6
    assert states.count("stopped") >= 1
    assert document["best"]["epochs"] == 18
    assert document["published"]["version"] == 1
    assert document["published"]["epochs"] == 18
    assert not list((folder / "work" / "runs" / ".unfinished").iterdir())
    repeat = shlex.split(document["command"].replace("--workdir work", "--workdir again"))
    done = run(python, "-m", "rockstar_cli", *repeat[1:])
    assert done.returncode == 0, done.stderr
    losses = [
        json.loads((folder / place / "runs" / "logistic-1" / "history.json").read_text())[-1]
        for place in ("work", "again")
    ]
    assert losses[0]["val_loss"] == document["best"]["val_loss"]
    assert abs(losses[1]["val_loss"] - document["best"]["val_loss"]) < 1e-5
    print("engines: tune: the best of six trials is published, and can be repeated")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engines", nargs="*", default=["local", "ray", "spark", "beam", "tune"])
    parser.add_argument("-n", type=int, default=10_000, help="number of images, and of rows")
    parser.add_argument("--python", help="an interpreter with the packages, instead of a new one")
    options = parser.parse_args()
    extras = "train,ray,spark" if "tune" in options.engines else "serve,ray,spark"
    try:
        project = (f"--editable={ROOT}[{extras}]", "apache-beam>=2.60")
        python = options.python or install("engines", *project)
    except NoIndexError as error:
        print(f"engines: skipped, there is no package index: {error}")
        return 0
    # Python's own workers, also those of Spark, import what this process does.
    environ = os.environ | {"PYSPARK_PYTHON": str(python), "PYTHONPATH": str(ROOT)}
    # An example would look for a cluster that runs, or once ran, on this machine.
    own_cluster = environ | {"RAY_ADDRESS": "local"}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if "tune" in options.engines:
            options.engines.remove("tune")
            tune(python, folder)
        if not options.engines:
            return 0
        write_inputs(folder, options.n)
        predict_with_service(folder)
        for engine in options.engines:
            if engine == "spark":
                require_clear_error(python, folder)
            for model, source in (("toy", "images"), ("price", "rows.parquet")):
                runs: dict[str, list[str]] = {}
                if engine != "beam":
                    models = ["--models", str(folder / "models"), "--model", model]
                    command = ["-m", "rockstar_cli", "predict", "--engine", engine, *models]
                    runs["predict"] = [*command, "--workers=2", str(folder / source), "-o"]
                if engine != "local":
                    example = str(ROOT / "examples" / f"predict_with_{engine}.py")
                    version = str(folder / "models" / model / "1")
                    all_files = "/**.png" if engine == "beam" and model == "toy" else ""
                    runs["example"] = [example, version, f"{folder / source}{all_files}"]
                for name, run in runs.items():
                    started, out = time.monotonic(), folder / f"{engine}-{model}-{name}"
                    environment = own_cluster if name == "example" else environ
                    done = subprocess.run([python, *run, str(out)], check=False, env=environment)
                    assert done.returncode in (0, 4), done.returncode
                    compare(folder, model, out)
                    seconds = time.monotonic() - started
                    print(f"engines: {engine} {name} {model}: as the service, {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
