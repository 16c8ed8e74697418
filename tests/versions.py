"""Installs the lowest and the newest versions that pyproject.toml allows, and uses both.

    make versions            base and serving packages, without TensorFlow: a minute
    make versions TF=2.21    tests that use TensorFlow, with that version: half an hour

Each set of versions gets an environment under build/versions. If no package index can be reached,
it says so and tests nothing.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.contracts import LABELS, make_contract
from tests.model_fixtures import converted

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = ROOT / "build" / "versions"
EXTRAS = "serve,heif,otel,socks,storage,parquet"
RESOLUTIONS = {"lowest": "lowest-direct", "newest": "highest"}
TENSORFLOW_TESTS = (
    *("tests/unit/training", "tests/integration/training"),
    *("tests/unit/model_server", "tests/integration/model_server"),
)
# uv's errors if it reaches no index; its other errors are about our bounds.
UNREACHABLE = ("Failed to fetch", "error sending request", "Could not connect", "dns error")


class NoIndexError(Exception):
    """No package index can be reached."""


def install(name: str, *arguments: str, python: str = sys.executable) -> Path:
    """Recreate an environment with the project and its dependencies.

    Args:
        name: name of the environment's folder.
        arguments: arguments of `uv pip install`.
        python: the version of Python, or an interpreter.

    Returns:
        Its interpreter.

    Raises:
        NoIndexError: no package index can be reached.
        subprocess.CalledProcessError: the versions in pyproject.toml conflict.
    """
    interpreter = ENVIRONMENTS / name / "bin" / "python"
    uv = [sys.executable, "-m", "uv", "--quiet"]
    environment = [*uv, "venv", "--clear", f"--python={python}", str(ENVIRONMENTS / name)]
    subprocess.run(environment, check=True)
    command = [*uv, "pip", "install", f"--python={interpreter}", *arguments]
    # In another folder, so that this project's constraints do not apply, as for users.
    elsewhere = tempfile.gettempdir()
    done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True)
    if done.returncode:
        if any(words in done.stderr for words in UNREACHABLE):
            raise NoIndexError(done.stderr.strip().splitlines()[-1])
        sys.stderr.write(done.stderr)
        done.check_returncode()
    return interpreter


def write_classifier(models: Path) -> None:
    """A model `toy` with a contract, which predicts the third label for every image."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    contract_text = make_contract().to_json()
    bias = tf.constant([0.0, 0.0, 9.0, 0.0])

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], name="image")])  # type: ignore[untyped-decorator]
    def predict(image: Any) -> Any:
        logits = 0.0 * tf.reshape(image, [-1, 64])[:, : len(LABELS)] + bias
        return {"probabilities": tf.nn.softmax(logits)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="query")])  # type: ignore[untyped-decorator]
    def contract(query: Any) -> Any:
        return {"contract": tf.fill(tf.shape(query), tf.constant(contract_text))}

    folder = models / "toy" / "1"
    folder.mkdir(parents=True)
    content = converted({"serving_default": predict, "contract": contract})
    (folder / "model.tflite").write_bytes(content)


def try_bounds(python: str) -> None:
    """Serve and predict with the lowest and with the newest allowed versions."""
    with tempfile.TemporaryDirectory() as models:
        write_classifier(Path(models))
        for name, resolution in RESOLUTIONS.items():
            started = time.monotonic()
            project = (f"--resolution={resolution}", f"--editable={ROOT}[{EXTRAS}]")
            interpreter = install(name, *project, python=python)
            subprocess.run([interpreter, "-m", "tests.smoke", models], check=True, cwd=ROOT)
            print(f"versions: {name} passed in {time.monotonic() - started:.0f} s", flush=True)


def try_tensorflow(version: str, python: str, arguments: list[str]) -> int:
    """Run the tests that use TensorFlow with one of its versions.

    Returns:
        Their exit code.
    """
    exact = (f"tensorflow=={version}.*", f"tensorflow-serving-api=={version}.*")
    project = (f"--editable={ROOT}[train,dev,otel]", *exact)
    interpreter = install(f"tensorflow-{version}", *project, python=python)
    command = [interpreter, "-m", "pytest", "-q", *(arguments or TENSORFLOW_TESTS)]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tensorflow", metavar="2.N", help="test with this TensorFlow instead")
    parser.add_argument("--python", default=sys.executable, help="a version, or an interpreter")
    parser.add_argument("tests", nargs="*", help="with --tensorflow, instead of the usual ones")
    options = parser.parse_args()
    try:
        if options.tensorflow:
            return try_tensorflow(options.tensorflow, options.python, options.tests)
        try_bounds(options.python)
    except NoIndexError as error:
        print(f"versions: skipped, there is no package index: {error}")
    except subprocess.CalledProcessError as error:
        print(f"versions: failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
