"""Trials: a version without a manifest is first loaded and run in a child process.

LiteRT and TensorFlow trust the files of a model. A damaged one can end the process when it is
loaded, or at its first request: a wrong index in a model.tflite reads memory that is not there. The
child does both with the same bytes. If that ends it, the version does not load.

An error that does not end the child is not reported: it occurs again when the server loads the
version, and is described there.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from rockstar_contract.manifest import Manifest
from rockstar_serving.model_server.engines.engine import Engine, LoadError, Runtime, find_runtimes
from rockstar_serving.model_server.options import EngineOptions
from tfs_api.signature import Signature

# The child ends if loading takes longer, or running a signature on one example: if it is damaged,
# that may never end.
LOAD_SECONDS, RUN_SECONDS = 300, 20


class _Trial(msgspec.Struct):
    """What to try: the name of the runtime, and what it loads."""

    runtime: str
    folder: str
    options: EngineOptions
    manifest: Manifest


def run_trial(folder: Path, runtime: Runtime, options: EngineOptions, manifest: Manifest) -> None:
    """Load and run a version in a child process; raises LoadError if that ends the child."""
    trial = msgspec.json.encode(_Trial(runtime.name, str(folder.absolute()), options, manifest))
    # A GPU is in use by this process; modules are found as here, and not in the current folder.
    environ = {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    child_end, our_end = os.pipe()
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-m", __name__, trial],
            stdin=child_end,
            capture_output=True,
            check=False,
            env=os.environ | environ,
        )
    except OSError as error:
        raise LoadError(f"{folder} cannot be tried in a process of its own: {error}") from error
    finally:
        os.close(child_end)
        os.close(our_end)
    if child.returncode:
        lines = child.stderr.decode(errors="replace").strip().splitlines()
        raise LoadError(
            f"{folder} ended the process in which {runtime.name} tried it "
            f"({_cause(child.returncode)}{': ' + lines[-1] if lines else ''}): it is damaged, or "
            "needs more memory than there is; copy or export it again. Versions with a manifest, "
            "as rockstar publishes them, are compared instead of tried"
        )


def _cause(code: int) -> str:
    if code == -signal.SIGALRM:
        return f"loading took more than {LOAD_SECONDS} s, or a signature more than {RUN_SECONDS} s"
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def main() -> None:
    """Run the trial that the argument describes, until standard input ends."""
    trial = msgspec.json.decode(sys.argv[1], type=_Trial)
    threading.Thread(target=_end_with_input, daemon=True).start()
    signal.alarm(LOAD_SECONDS)
    with contextlib.suppress(OSError):  # not on macOS: if memory runs out, this process ends first
        Path("/proc/self/oom_score_adj").write_text("1000")
    (runtime,) = (each for each in find_runtimes() if each.name == trial.runtime)
    with contextlib.suppress(Exception):
        engine = runtime.load(Path(trial.folder), trial.options, trial.manifest)
        for name, signature in engine.signatures.items():
            signal.alarm(RUN_SECONDS)
            with contextlib.suppress(Exception):
                _run(engine, name, signature)
    # Without freeing anything: all of it ends here.
    os._exit(0)


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def _run(engine: Engine, name: str, signature: Signature) -> None:
    """Run a signature on one example of zeros, if all its sizes but the number are known."""
    feeds: dict[str, Any] = {}
    for each, spec in signature.inputs.items():
        if spec.shape is None or -1 in spec.shape[1:]:
            return
        shape = tuple(1 if size == -1 else size for size in spec.shape)
        feeds[each] = np.full(shape, b"" if spec.dtype == object else 0, spec.dtype)
    engine.run(name, feeds, list(signature.outputs))


if __name__ == "__main__":
    main()
