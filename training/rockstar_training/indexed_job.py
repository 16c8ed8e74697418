"""Workers that train together: `python -m rockstar_training.indexed_job`, and TF_CONFIG.

The environment variable TF_CONFIG describes the workers of a training and the role of this process:
https://www.tensorflow.org/guide/distributed_training#setting_up_the_tf_config_environment_variable
The first worker, or the one called chief, publishes.

The command starts one worker of a training Job on Kubernetes. Each pod of an Indexed Job has its
index in JOB_COMPLETION_INDEX, and a name in a headless Service, <job>-<index>.<service>. TF_CONFIG
is derived from them. TensorFlow waits for missing workers without a message, and may wait forever
for one that was restarted. So all workers first connect to worker 0, which listens on its address
until TensorFlow takes over the port. The connections stay open: when one of them breaks, a worker
is lost, and all of them start again and continue from the last checkpoint.
"""

import contextlib
import json
import logging
import math
import os
import select
import signal
import socket
import string
import subprocess
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
# Time in which a lost worker is noticed that made the command fail.
_NOTICE_S = 5.0
# Messages between workers: who connects, what worker 0 responds, and what both say at the end.
_HELLO, _START, _DONE = b"rockstar worker %d\n", b"start\n", b"done\n"

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


def meet(addresses: Sequence[str], index: int, patience: float) -> dict[int, socket.socket] | None:
    """Wait until all workers are there; `patience` is the timeout in seconds.

    Returns:
        Connections that stay open as long as a worker runs: of worker 0 to each of the others, of
        the others to worker 0. None if the training is finished.

    Raises:
        TrainingError: after the timeout, with what is missing; or this worker's port is taken.
    """
    deadline = time.monotonic() + patience
    if index:
        return _reach_first(addresses, index, deadline)
    links: dict[int, socket.socket] = {}
    report_missing = _reporter(0, deadline)
    with _listen(addresses[0]) as listener:
        while missing := sorted(set(range(1, len(addresses))) - set(links)):
            report_missing(", ".join(f"worker {each} at {addresses[each]}" for each in missing))
            links |= _accept(listener, len(addresses))
    for link in links.values():
        _send(link, _START)
    log.info("all %d workers are there", len(addresses))
    return links


def _reach_first(
    addresses: Sequence[str], index: int, deadline: float
) -> dict[int, socket.socket] | None:
    """Connect to worker 0, and wait until it has met all."""
    report_missing = _reporter(index, deadline)
    while True:
        try:
            link = socket.create_connection(_host_and_port(addresses[0]), timeout=_CONNECT_S)
        except socket.gaierror:
            why = "its name is not known yet"
        except OSError as error:
            why = error.strerror or "no answer"
        else:
            _keep_alive(link)
            _send(link, _HELLO % index)
            log.info("worker %d has reached worker 0, and waits for the others", index)
            link.settimeout(max(_CONNECT_S, deadline - time.monotonic()))
            answer = _receive(link)
            if answer == _START:
                log.info("all %d workers are there", len(addresses))
                return {0: link}
            link.close()
            if answer == _DONE:
                return None
            why = "it has not ended its earlier training" if answer else "it closed the connection"
        report_missing(f"worker 0 at {addresses[0]} ({why})")
        time.sleep(_PAUSE_S)


def _reporter(index: int, deadline: float) -> Callable[[str], None]:
    """Return a function that logs what is missing now and then, and fails after the deadline."""
    logged = -math.inf

    def report(missing: str) -> None:
        nonlocal logged
        now = time.monotonic()
        if now > logged + _LOG_EVERY_S:
            log.info("worker %d waits for %s", index, missing)
            logged = now
        if now > deadline:
            raise TrainingError(
                f"worker {index} waited in vain for {missing}: see whether these pods are "
                "scheduled and what their logs say, or set --patience to more seconds"
            )

    return report


def run(
    command: Sequence[str],
    environment: dict[str, str],
    links: dict[int, socket.socket],
    addresses: Sequence[str],
    index: int,
    patience: float,
) -> int | None:
    """Run the command of a worker; return its exit code, or None if all have to start again.

    A worker that finished waits until worker 0 has finished, which publishes; if worker 0 is lost
    before, it needs the others.
    """
    finished: set[int] = set()
    with subprocess.Popen(command, env=environment) as child:
        try:
            while (code := child.poll()) is None:
                if _lost(links, finished, _PAUSE_S):
                    return None
        finally:
            # Checkpoints and versions appear when they are complete.
            child.kill()
    if code:
        # TensorFlow notices that another worker is lost, too, perhaps first.
        return None if _lost(links, finished, _NOTICE_S) else 128 - code if code < 0 else code
    if index:
        for link in links.values():
            _send(link, _DONE)
        log.info("worker %d has finished, and waits until worker 0 has published", index)
        while 0 not in finished:
            if _lost(links, finished, _PAUSE_S):
                return None
        return 0
    others, deadline = set(range(1, len(addresses))), time.monotonic() + patience
    with _listen(addresses[0]) as listener:
        while others - finished and time.monotonic() < deadline:
            _lost(links, finished, 0)
            for peer, link in _accept(listener, len(addresses)).items():
                links[peer] = link  # restarted after the training
                finished.add(peer)
    for link in links.values():
        _send(link, _DONE)
    return 0


def _lost(links: dict[int, socket.socket], finished: set[int], seconds: float) -> bool:
    """Read messages for a time, and check whether a worker ended without having finished."""
    readable, _, _ = select.select([*links.values()], [], [], seconds)
    lost = False
    for peer, link in [*links.items()]:
        if link not in readable:
            continue
        if _receive(link) == _DONE:
            finished.add(peer)
            continue
        links.pop(peer).close()
        if peer in finished:
            # Worker 0 ends after all others. These come back only to hear that it has finished.
            finished -= {peer} - {0}
        else:
            log.info("worker %d is lost: all start again from the last checkpoint", peer)
            lost = True
    return lost


def _listen(address: str) -> socket.socket:
    port = _host_and_port(address)[1]
    try:
        listener = socket.create_server(("", port), backlog=128)
    except OSError as error:
        raise TrainingError(f"cannot listen on this worker's port {port}: {error}") from error
    listener.settimeout(_PAUSE_S)
    return listener


def _accept(listener: socket.socket, workers: int) -> dict[int, socket.socket]:
    """Accept a connection, for a short time, and read which worker it is of."""
    try:
        link, _ = listener.accept()
    except TimeoutError:
        return {}
    link.settimeout(_CONNECT_S)
    hello = _receive(link)
    peer = next((peer for peer in range(1, workers) if hello == _HELLO % peer), None)
    if peer is None:
        link.close()
        return {}
    _keep_alive(link)
    return {peer: link}


def _keep_alive(link: socket.socket) -> None:
    """Let the connection fail if the other machine is gone."""
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _send(link: socket.socket, message: bytes) -> None:
    # A broken connection is noticed when it is read.
    with contextlib.suppress(OSError):
        link.sendall(message)


def _receive(link: socket.socket) -> bytes:
    """Receive a message; empty if the connection is closed or broken."""
    try:
        return link.recv(64)
    except OSError:
        return b""


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


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
    """Set TF_CONFIG, wait for the other workers, then run COMMAND.

    If a worker is lost, the others run COMMAND again as soon as it is back.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # Process 1 of a container ignores signals without a handler.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        addresses = worker_addresses(address, workers)
        environment = os.environ | {"TF_CONFIG": json.dumps(tf_config(addresses, index))}
        code = None
        while code is None:
            links = meet(addresses, index, patience)
            if links is None:
                log.info("the training is finished")
                return
            try:
                code = run(command, environment, links, addresses, index, patience)
            finally:
                for link in links.values():
                    link.close()
    except TrainingError as error:
        raise click.ClickException(str(error)) from error
    except (FileNotFoundError, PermissionError) as error:
        raise click.ClickException(f"cannot run {command[0]}: {error.strerror}") from error
    sys.exit(code)


def _has_port(address: str) -> bool:
    port = address.rpartition(":")[2]
    return port.isascii() and port.isdigit() and 0 < int(port) < 2**16


if __name__ == "__main__":
    main(prog_name="python -m rockstar_training.indexed_job")
