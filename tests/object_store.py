"""An S3-compatible object store for tests, in its own process and environment."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# AWS's client in version 1, which has the commands of version 2, and a test server.
REQUIREMENTS = ["awscli==1.42.*", "moto[server]==5.1.*"]
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
_SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
server.start()
print("http://%s:%d" % server.get_host_and_port(), flush=True)
sys.stdin.read()
server.stop()
"""


@contextmanager
def object_store(python: Path) -> Iterator[str]:
    """Run a store; yields its endpoint. `python` is an interpreter with the requirements."""
    server = subprocess.Popen(
        [python, "-c", _SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # a line for each request
        text=True,
    )
    with server:
        assert server.stdout is not None
        assert server.stdin is not None
        yield server.stdout.readline().strip()
        server.stdin.close()
