"""Workers that train together: `python -m rockstar_training.indexed_job`, and TF_CONFIG.

The environment variable TF_CONFIG describes the workers of a training and the role of this process:
https://www.tensorflow.org/guide/distributed_training#setting_up_the_tf_config_environment_variable
The first worker, or the one called chief, publishes.

The command starts one worker of a training Job on Kubernetes. Each pod of an Indexed Job has its
index in JOB_COMPLETION_INDEX, and a name in a headless Service, <job>-<index>.<service>. TF_CONFIG
is derived from them. TensorFlow waits for missing workers without a message. So each worker first
listens on its own address until it has connected to all others once. Then TensorFlow takes over the
port, and workers that start later connect to TensorFlow.
"""

import contextlib
import json
import logging
import os
import signal
import socket
import string
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import click

from rockstar_training.errors import ConfigError, TrainingError

# Time between connection attempts, their timeout, and time between log messages.
_PAUSE_S = 0.5
_CONNECT_S = 2.0
_LOG_EVERY_S = 10.0

log = logging.getLogger(__name__)


def is_chief() -> bool:
    """Check whether this process publishes: it trains alone, or is the chief of all workers."""
    role = _role()
    if role is None:
        return True
    cluster, kind, index = role
    return kind == "chief" or ("chief" not in cluster and kind == "worker" and index == 0)


def has_several_workers() -> bool:
    """Check whether TF_CONFIG describes several workers; an invalid one is a ConfigError."""
    return _role() is not None


def _role() -> tuple[dict[str, Any], str, int] | None:
    """Return the cluster, and this process's type and index in it; None without a cluster."""
    document = os.environ.get("TF_CONFIG")
    if not document:
        return None
    try:
        settings = json.loads(document)
        cluster = settings["cluster"]
        kind, index = settings["task"]["type"], int(settings["task"]["index"])
        cluster[kind][index]
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise ConfigError(
            'TF_CONFIG: expected {"cluster": {"worker": ["host:port", …]}, "task": '
            f'{{"type": "worker", "index": 0}}}}, got {document!r}'
        ) from error
    return cluster, kind, index


def meet(
    addresses: Sequence[str], index: int, patience: float, pause: Callable[[float], None]
) -> None:
    """Wait until the addresses of all workers accept connections, and accept them meanwhile.

    Patience is the timeout in seconds; `pause` is time.sleep, or a test's replacement.

    Raises:
        TrainingError: after the timeout, with the reason for each missing worker; or this worker's
            port is taken.
    """
    _, own_port = _host_and_port(addresses[index])
    missing = dict.fromkeys(sorted(set(range(len(addresses))) - {index}), "not tried yet")
    deadline = time.monotonic() + patience
    logged = float("-inf")
    try:
        # The operating system accepts connections, which is all that peers need.
        listener = socket.create_server(("", own_port), backlog=128)
    except OSError as error:
        raise TrainingError(f"cannot listen on this worker's port {own_port}: {error}") from error
    with contextlib.closing(listener):
        while True:
            missing = {peer: why for peer in missing if (why := _unreachable(addresses[peer]))}
            if not missing:
                log.info("all %d workers are there", len(addresses))
                return
            now = time.monotonic()
            if now > logged + _LOG_EVERY_S:
                log.info("worker %d waits for %s", index, _described(missing, addresses))
                logged = now
            if now > deadline:
                raise TrainingError(
                    f"worker {index} waited {patience:g} s in vain for "
                    f"{_described(missing, addresses)}: see whether these pods are scheduled and "
                    "what their logs say"
                )
            pause(_PAUSE_S)


def _unreachable(address: str) -> str:
    """Return why an address does not accept connections; empty if it does."""
    try:
        socket.create_connection(_host_and_port(address), timeout=_CONNECT_S).close()
    except socket.gaierror:
        return "its name is not known yet"
    except OSError as error:
        return error.strerror or "no answer"
    return ""


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def _described(missing: dict[int, str], addresses: Sequence[str]) -> str:
    return ", ".join(f"worker {n} at {addresses[n]} ({why})" for n, why in missing.items())


def worker_addresses(template: str, workers: int) -> list[str]:
    """Return HOST:PORT of each worker, from a template such as "training-{index}.training:2222"."""
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
        addresses = [template.format(index=index) for index in range(workers)]
    except (ValueError, KeyError, IndexError):
        names, addresses = [], []
    if set(names) != {"index"} or not all(map(_has_port, addresses)):
        raise ConfigError(
            f"address: expected HOST:PORT with {{index}} in it, such as "
            f"training-{{index}}.training:2222, got {template!r}"
        )
    return addresses


def tf_config(addresses: list[str], index: int) -> dict[str, Any]:
    """Return the TF_CONFIG of a worker; worker 0 is the chief, which publishes."""
    if not 0 <= index < len(addresses):
        raise ConfigError(
            f"index: expected 0 to {len(addresses) - 1}, since there are {len(addresses)} workers, "
            f"got {index}: the Job's completions and --workers must be the same number"
        )
    return {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}


@click.command(
    epilog="Example: python -m rockstar_training.indexed_job --workers 2 "
    "--address 'training-{index}.training:2222' rockstar train cnn",
    context_settings={"allow_interspersed_args": False},
)
@click.option("--workers", type=click.IntRange(1), required=True, help="Number of workers.")
@click.option("--address", required=True, help="HOST:PORT of each worker, with {index}.")
@click.option(
    "--index",
    type=int,
    envvar="JOB_COMPLETION_INDEX",
    required=True,
    help="Index of this worker. An Indexed Job sets JOB_COMPLETION_INDEX.",
)
@click.option(
    "--patience",
    type=click.FloatRange(min=0, min_open=True),
    default=600.0,
    show_default=True,
    help="Seconds to wait for the other workers.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def main(workers: int, address: str, index: int, patience: float, command: tuple[str, ...]) -> None:
    """Set TF_CONFIG, wait for the other workers, then run COMMAND in this process."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # Process 1 of a container ignores signals without a handler.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        addresses = worker_addresses(address, workers)
        document = tf_config(addresses, index)
        meet(addresses, index, patience, time.sleep)
    except TrainingError as error:
        raise click.ClickException(str(error)) from error
    environment = os.environ | {"TF_CONFIG": json.dumps(document)}
    sys.stderr.flush()
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606 - a list, without a shell
    except OSError as error:
        raise click.ClickException(f"cannot run {command[0]}: {error.strerror}") from error


def _has_port(address: str) -> bool:
    port = address.rpartition(":")[2]
    return port.isascii() and port.isdigit() and 0 < int(port) < 2**16


if __name__ == "__main__":
    main(prog_name="python -m rockstar_training.indexed_job")
