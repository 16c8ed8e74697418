"""Trials: a version without a manifest is first loaded and run in a child process.

LiteRT and TensorFlow trust the files of a model. A damaged one can end the process when it is
loaded, or at its first request: a wrong index in a model.tflite reads memory that is not there. The
child does both with the same bytes. If that ends it, the version does not load.

An error that does not end the child is not reported: it occurs again when the server loads the
version, and is described there.
"""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any, cast

import msgspec
import numpy as np

from rockstar_contract.manifest import Manifest
from rockstar_serving.model_server.engines.engine import Engine, LoadError, Runtime, find_runtimes
from rockstar_serving.model_server.options import EngineOptions
from tfs_api.signature import Signature

# The child ends if loading takes longer, or running a signature on one example: if it is damaged,
# that may never end.
LOAD_SECONDS, RUN_SECONDS = 300, 20
# The line that the child writes after each trial.
_TRIED = b"tried\n"


class _Trial(msgspec.Struct):
    """What to try: the name of the runtime, and what it loads."""

    runtime: str
    folder: str
    options: EngineOptions
    manifest: Manifest


class Trials:
    """Loads and runs versions in a child process, one after the other.

    Versions that wait share the process, because importing TensorFlow takes seconds.
    """

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._waiting = 0
        self._counting = threading.Lock()

    def run(
        self, folder: Path, runtime: Runtime, options: EngineOptions, manifest: Manifest
    ) -> None:
        """Load and run a version in the child process; raises LoadError if that ends it."""
        trial = _Trial(runtime.name, str(folder.absolute()), options, manifest)
        with self._counting:
            self._waiting += 1
        with self._lock:
            try:
                shared = self._child is not None
                cause = self._try(trial)
                if cause and shared:  # an earlier version may be the cause
                    cause = self._try(trial)
            except OSError as error:
                raise LoadError(f"{folder} cannot be tried in a child process: {error}") from error
            finally:
                with self._counting:
                    self._waiting -= 1
                    is_last = not self._waiting
                if is_last and self._child is not None:
                    self._child.communicate()
                    self._child = None
        if cause:
            raise LoadError(
                f"{folder} ended the process in which {runtime.name} tried it ({cause}): it is "
                "damaged, or needs more memory than there is; copy or export it again. Versions "
                "with a manifest, as rockstar publishes them, are compared instead of tried"
            )

    def _try(self, trial: _Trial) -> str:
        """Try a version; returns why the child process ended, or an empty string."""
        child = self._child = self._child or _start()
        reader, writer = cast("tuple[IO[bytes], IO[bytes]]", (child.stdout, child.stdin))
        message = ""
        with contextlib.suppress(BrokenPipeError):
            writer.write(msgspec.json.encode(trial) + b"\n")
            writer.flush()
            for line in reader:
                if line == _TRIED:
                    return ""
                message = line.decode(errors="replace").strip() or message
        self._child = None
        child.communicate()
        if child.returncode == -signal.SIGALRM:
            return (
                f"loading took more than {LOAD_SECONDS} s, or a signature more than {RUN_SECONDS} s"
            )
        code = child.returncode
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"{cause}: {message}" if message else cause


def _start() -> subprocess.Popen[bytes]:
    # A GPU is in use by this process; modules are found as here, and not in the current folder.
    environ = {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | environ,
    )


def main() -> None:
    """Run the trials in the lines of standard input, until it ends."""
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    with contextlib.suppress(OSError):  # not on macOS: if memory runs out, this process ends first
        Path("/proc/self/oom_score_adj").write_text("1000")
    runtimes = {each.name: each for each in find_runtimes()}
    while True:
        trial = msgspec.json.decode(lines.get(), type=_Trial)
        with contextlib.suppress(Exception):
            signal.alarm(LOAD_SECONDS)
            engine = runtimes[trial.runtime].load(Path(trial.folder), trial.options, trial.manifest)
            for name, signature in engine.signatures.items():
                signal.alarm(RUN_SECONDS)
                with contextlib.suppress(Exception):
                    _run(engine, name, signature)
            engine.close()
        signal.alarm(0)
        # Libraries may have written a part of a line.
        os.write(sys.stdout.fileno(), b"\n" + _TRIED)


def _read(lines: "queue.SimpleQueue[bytes]") -> None:
    for line in sys.stdin.buffer:
        lines.put(line)
    # Without freeing anything: all of it ends here, also if the server ended during a trial.
    os._exit(0)


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
