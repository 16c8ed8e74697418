"""Ctrl-C during a call ends it immediately, and the client stays usable."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.images import png, stroke
from tests.waiting import until

ROOT = Path(__file__).parents[3]

ASK = """
import sys
from rockstar_client import GrpcClient, HttpClient

kind, place, image = sys.argv[1:]
with {"http": HttpClient, "grpc": GrpcClient}[kind](place) as client:
    client.predict("toy", image)
    print("may go on", flush=True)
    sys.stdin.readline()
    try:
        client.predict("toy", image, timeout=60)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    sys.stdin.readline()
    print(client.predict("toy", image).predictions[0].label)
"""


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_a_client_goes_on_after_ctrl_c(start_gateway, toy_server, tmp_path, kind):
    image = tmp_path / "image.png"
    image.write_bytes(png(stroke()))
    grpc = f"127.0.0.1:{toy_server.port}"
    place = start_gateway().url if kind == "http" else grpc
    with subprocess.Popen(
        [sys.executable, "-c", ASK, kind, place, str(image)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stdout.readline() == "may go on\n"
            before = toy_server.predictions
            toy_server.proceed.clear()
            process.stdin.write("\n")
            process.stdin.flush()
            until(lambda: toy_server.predictions > before)
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "interrupted\n"
            toy_server.proceed.set()
            said, errors = process.communicate("\n", timeout=60)
            assert (said, errors, process.returncode) == ("zero\n", "", 0)
        finally:
            process.kill()
