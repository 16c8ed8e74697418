import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

# A log whose lines are interrupted by a signal while they are written.
PROGRAM = """
import io, logging, os, signal, sys
from rockstar_serving.model_server.command import Signals

class Interrupted(io.RawIOBase):
    def writable(self): return True
    def write(self, data):
        line = bytes(data)
        if b"INTERRUPT" in line or b": stopping" in line:
            os.kill(os.getpid(), signal.SIGINT)
        return os.write(2, line)

stream = io.TextIOWrapper(io.BufferedWriter(Interrupted()))
logging.basicConfig(level=logging.INFO, stream=stream)
signals = Signals()
if "serving" in sys.argv:
    signals.serving(lambda: print("cleaned up", flush=True))
    os.kill(os.getpid(), signal.SIGINT)
    signals.wait()
else:
    logging.info("INTERRUPT")
signal.sigtimedwait([], 30)
"""


@pytest.mark.parametrize(
    ("state", "code", "line", "output"),
    [
        ("serving", 130, "SIGINT again: stopped at once", "cleaned up\n"),
        ("starting", 0, "SIGINT while starting: stopped", ""),
    ],
)
def test_a_signal_while_a_line_is_written(state, code, line, output):
    command = [sys.executable, "-c", PROGRAM, state]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stdout) == (code, output)
    assert line in done.stderr
