"""Faults, each done to a running service under load; they return when the fault is over."""

import contextlib
import itertools
import os
import random
import resource
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.callers import KINDS, TIMEOUT_S, Callers
from tests.chaos.service import DESCRIPTORS, HOSTS, MODEL, Service
from tests.waiting import until

# How long a fault lasts.
_SECONDS = 2.0
_BURST = 200


@dataclass
class Scene:
    """What faults are done to.

    Attributes:
        service: under load.
        version: folder of the version that is published again and again.
        chance: decides what the faults leave open.
        callers: the load.
        newest: number of the newest version that is valid.
    """

    service: Service
    version: Path
    chance: random.Random
    callers: Callers
    newest: int = 1

    @property
    def base_path(self) -> Path:
        """The folder of the model's versions."""
        return self.service.models / MODEL

    def pick(self, role: str) -> int:
        """One of the processes of a role."""
        return self.chance.choice(self.service.roles()[role])

    def until_served(self) -> None:
        """Wait until the newest version answers callers, and the model server lists it."""
        moment = time.monotonic()

        def is_served() -> bool:
            recent = [each for each in list(self.callers.requests) if each.started > moment]
            return (
                any(each.version == self.newest for each in recent)
                and self.newest in self.service.versions()
            )

        until(is_served, 2 * TIMEOUT_S, f"version {self.newest}")


def _pause() -> None:
    threading.Event().wait(_SECONDS)


def _kill(role: str) -> Callable[[Scene], None]:
    def kill(scene: Scene) -> None:
        os.kill(scene.pick(role), signal.SIGKILL)

    return kill


def _stop(role: str) -> Callable[[Scene], None]:
    def stop(scene: Scene) -> None:
        pid = scene.pick(role)
        os.kill(pid, signal.SIGSTOP)
        try:
            _pause()
        finally:
            os.kill(pid, signal.SIGCONT)

    return stop


def _reload(scene: Scene) -> None:
    os.kill(scene.pick("supervisor"), signal.SIGHUP)
    _pause()


def _publish(scene: Scene) -> None:
    """Publish a version in one step."""
    aside = scene.base_path / "tmp.new"
    shutil.copytree(scene.version, aside)
    scene.newest += 1
    aside.rename(scene.base_path / str(scene.newest))
    scene.until_served()


def _copy_slowly(scene: Scene) -> None:
    """Copy a version file by file, the manifest last, as scp and object stores' tools do."""
    scene.newest += 1
    target = scene.base_path / str(scene.newest)
    files = sorted(each for each in scene.version.rglob("*") if each.is_file())
    for file in sorted(files, key=lambda file: file.name == "manifest.json"):
        copy = target / file.relative_to(scene.version)
        copy.parent.mkdir(parents=True, exist_ok=True)
        content = file.read_bytes()
        with copy.open("wb") as out:
            for half in (content[: len(content) // 2], content[len(content) // 2 :]):
                out.write(half)
                out.flush()
                threading.Event().wait(0.1)
    scene.until_served()


def _remove(scene: Scene) -> None:
    """Remove the newest version, after another was published; the one before serves again."""
    _publish(scene)
    shutil.rmtree(scene.base_path / str(scene.newest))
    number, scene.newest = scene.newest, scene.newest - 1
    scene.until_served()
    # Numbers are not used again, because a version never changes.
    shutil.copytree(scene.version, scene.base_path / f"tmp.{number}")
    (scene.base_path / f"tmp.{number}").rename(scene.base_path / str(number + 1))
    scene.newest = number + 1
    scene.until_served()


def _corrupt(scene: Scene) -> None:
    """Publish a version with a flipped bit; it must never answer."""
    number = scene.newest + 1
    aside = scene.base_path / "tmp.corrupt"
    shutil.copytree(scene.version, aside)
    content = bytearray((aside / "model.tflite").read_bytes())
    content[scene.chance.randrange(len(content))] ^= 1 << scene.chance.randrange(8)
    (aside / "model.tflite").write_bytes(content)
    aside.rename(scene.base_path / str(number))
    moment = time.monotonic()
    _pause()
    _pause()
    shutil.rmtree(scene.base_path / str(number))
    served = [each for each in list(scene.callers.requests) if each.started > moment]
    assert not any(each.version == number for each in served), "a corrupt version answered"
    scene.newest = number
    aside.mkdir()
    shutil.copytree(scene.version, aside, dirs_exist_ok=True)
    # The same number, now valid: it was never served.
    aside.rename(scene.base_path / str(number))
    scene.until_served()


def _fill_disk(scene: Scene) -> None:
    """No file can grow: logs, metrics and temporary files."""
    before: dict[int, tuple[int, int]] = {}
    for pid in itertools.chain(*scene.service.roles().values()):
        with contextlib.suppress(ProcessLookupError):
            before[pid] = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[pid][1]))
    try:
        _pause()
    finally:
        for pid, limits in before.items():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


def use_up_descriptors(scene: Scene) -> None:
    """More idle connections than the workers together may have open files."""
    with contextlib.ExitStack() as connections:
        for _ in range(3 * DESCRIPTORS):
            connections.enter_context(
                socket.create_connection(("127.0.0.1", scene.service.ports[0]))
            )
        _pause()


def burst(scene: Scene) -> None:
    """Many requests at once, whose callers leave without reading the answers."""
    png = scene.callers.images[0].png
    request = (
        f"POST /predict/{MODEL} HTTP/1.1\r\nHost: h\r\nContent-Type: image/png\r\n"
        f"Content-Length: {len(png)}\r\n\r\n"
    ).encode() + png
    with contextlib.ExitStack() as connections:
        for _ in range(_BURST):
            connection = socket.create_connection(("127.0.0.1", scene.service.ports[0]))
            connections.enter_context(connection)
            connection.sendall(request)


def _jump(scene: Scene) -> None:
    """The clock goes forward by an hour, and back by two."""
    for offset in ("+3600", "-3600", "+0"):
        scene.service.clock.write_text(f"{offset}\n")
        _pause()


def _lose_names(scene: Scene) -> None:
    """No name resolves, while a worker starts that has to find the model server."""
    names = scene.service.names
    names.fault = scene.chance.choice(["silent", "fails"])
    try:
        _kill("worker")(scene)
        _pause()
    finally:
        names.fault = ""


@dataclass(frozen=True)
class Fault:
    """A fault, and what it may cost.

    Attributes:
        inject: does it.
        loses: most requests that may be lost: those that a killed process holds.
        errors: whether callers may get errors.
        hosts: on which it can be done.
    """

    inject: Callable[[Scene], None]
    loses: int = 0
    errors: bool = False
    hosts: tuple[str, ...] = HOSTS


FAULTS = {
    "kill a worker": Fault(_kill("worker"), loses=len(KINDS), errors=True),
    "kill the parent": Fault(_kill("parent")),
    "kill the model server": Fault(_kill("model server"), errors=True),
    "stop a worker": Fault(_stop("worker")),
    "stop the model server": Fault(_stop("model server")),
    "reload": Fault(_reload),
    "publish a version": Fault(_publish),
    "copy a version slowly": Fault(_copy_slowly),
    "remove a version": Fault(_remove),
    "corrupt version": Fault(_corrupt),
    "names do not resolve": Fault(_lose_names, loses=len(KINDS), errors=True, hosts=("gunicorn",)),
    "full disk": Fault(_fill_disk),
    "few descriptors": Fault(use_up_descriptors),
    "burst": Fault(burst, errors=True),
    # gRPC computes deadlines by the clock.
    "clock jumps": Fault(_jump, errors=True),
}
