"""Runs the embedded model server as a process."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

PROGRAM = ("rockstar_serving.model_server",)


@contextmanager
def model_server(*flags: str, program: tuple[str, ...] = PROGRAM) -> Iterator[dict[str, Any]]:
    """Start a model server on free ports, and stop it at the end.

    Args:
        flags: of the model server.
        program: module to run, and its arguments before the flags.

    Yields:
        Its address file: "grpc", "rest", "pid".

    Raises:
        ClickException: it did not start; with its output.
    """
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w+") as log:
        address_file = Path(folder) / "address.json"
        address = ("--host=127.0.0.1", "--port=auto", f"--address_file={address_file}")
        command = [sys.executable, "-m", *program, *flags, *address]
        with subprocess.Popen(command, stdout=log, stderr=log) as process:
            try:
                while not address_file.exists():
                    if process.poll() is not None:
                        log.seek(0)
                        output = log.read()[-2000:]
                        raise click.ClickException(f"the model server did not start: {output}")
                    time.sleep(0.01)
                yield json.loads(address_file.read_text())
            finally:
                process.terminate()
