"""`make chaos`: faults at random in real processes under load, and a check of every answer.

    python -m tests.chaos --seconds 60 --host granian --seed 7 --fault 'kill a worker'

On each host a service runs with a small model, trained before. Callers send PNGs, tensors to /v1 and
/v2, and use HttpClient and GrpcClient. Each request must get exactly its right answer or a clear
error; requests may be lost only when a process that holds them is killed. Versions that were
published must answer, corrupt ones must not. At the end, memory, descriptors and threads must be
what they were before.
"""

import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import click

from rockstar_client.http import HttpClient
from rockstar_contract.contract import Contract, ImageInput
from rockstar_contract.images import decode_image
from rockstar_contract.preprocessing import preprocess
from tests.chaos.callers import Callers, Image
from tests.chaos.faults import FAULTS, Scene, burst
from tests.chaos.service import HOSTS, MODEL, Service, Usage, can_sleep
from tests.waiting import until

LOGS = Path("build/chaos")
_RECOVERED_S = 60.0
# Growth that is not a leak: caches, and threads that wait for work.
_MORE = Usage(resident_mb=40.0, descriptors=12, threads=12)
_IMAGES = 20


@dataclass
class Row:
    """What came of a kind of fault."""

    times: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    recovery: float = 0.0


@click.command()
@click.option("--seconds", default=600, type=click.IntRange(10), help="For all hosts together.")
@click.option("--seed", type=int, help="Of a run to repeat; a new one by default.")
@click.option("--host", "hosts", type=click.Choice(HOSTS), multiple=True, default=HOSTS)
@click.option("--fault", "names", type=click.Choice(list(FAULTS)), multiple=True)
@click.option("--version", type=click.Path(exists=True, path_type=Path), help="Of an image model.")
@click.option(
    "--libfaketime",
    default="/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    type=click.Path(path_type=Path),
    help="For clock jumps, which are left out without it.",
)
def main(
    seconds: int,
    seed: int | None,
    hosts: tuple[str, ...],
    names: tuple[str, ...],
    version: Path | None,
    libfaketime: Path,
) -> None:
    """Run faults; exits with status 1 if a request, a version or a limit was violated."""
    seed = random.randrange(10**6) if seed is None else seed
    click.echo(f"Seed {seed}: python -m tests.chaos --seed {seed} --seconds {seconds} repeats it.")
    names = names or tuple(FAULTS)
    library = libfaketime if "clock jumps" in names else None
    if library is not None and not (library.exists() and can_sleep(library)):
        click.echo(f"Without clock jumps: {library} is absent, or time.sleep fails with it.")
        names = tuple(name for name in names if name != "clock jumps")
        library = None
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    violations: list[str] = []
    with tempfile.TemporaryDirectory(prefix="rockstar-chaos-") as name:
        version = version or _train(Path(name))
        for host in hosts:
            folder = Path(name) / host
            (folder / "models" / MODEL).mkdir(parents=True)
            shutil.copytree(version, folder / "models" / MODEL / "1")
            service = Service(host, folder / "models", folder, library)
            chance = random.Random(f"{seed} {host}")
            if not (here := tuple(name for name in names if host in FAULTS[name].hosts)):
                continue
            try:
                violations += _run(service, version, chance, here, seconds / len(hosts))
            finally:
                LOGS.mkdir(parents=True, exist_ok=True)
                shutil.copy(service.log, LOGS)
    for violation in violations:
        click.echo(f"VIOLATED: {violation}", err=True)
    if violations:
        click.echo(f"The logs are in {LOGS}. Repeat: --seed {seed}", err=True)
    sys.exit(bool(violations))


def _train(folder: Path) -> Path:
    """Train a small model; returns its version folder."""
    command = [sys.executable, "-m", "rockstar_cli", "train", "logistic", f"--workdir={folder}"]
    subprocess.run([*command, "--data=digits", "--epochs=6"], check=True, capture_output=True)
    return folder / "models" / "logistic" / "1"


def _run(
    service: Service, version: Path, chance: random.Random, names: tuple[str, ...], seconds: float
) -> list[str]:
    """Run faults on a host, and print a table; returns what was violated."""
    violations: list[str] = []
    rows: dict[str, Row] = {}
    with service.running():
        images = _images(service, version)
        scene = Scene(service, version, chance, Callers(service, images))
        with scene.callers as callers:
            until(lambda: callers.are_right_since(0), _RECOVERED_S, "right answers of every kind")
            # Until caches are full, and there are as many threads as there will be.
            burst(scene)
            time.sleep(min(10, seconds / 10))
        before = service.usage()
        with Callers(service, images) as callers:
            scene.callers = callers
            deadline, queue = time.monotonic() + seconds, list[str]()
            while time.monotonic() < deadline:
                queue = queue or chance.sample(names, len(names))
                name = queue.pop()
                violations += _inject(name, scene, rows.setdefault(name, Row()))
        time.sleep(min(10, seconds / 10))  # threads without work end
        after = service.usage()
    _print(service.host, rows, before, after)
    return [f"{service.host}: {each}" for each in [*violations, *_growth(before, after)]]


def _images(service: Service, version: Path) -> list[Image]:
    """Digits, and what the model predicts for each without faults."""
    # Not needed by what is tested.
    from tests.images import digits

    contract = Contract.from_json((version / "assets.extra" / "contract.json").read_bytes())
    assert isinstance(contract.input, ImageInput), f"{version} is not a model of images"
    steps = contract.input.preprocessing
    with HttpClient(service.url) as client:
        found = [(png, client.predict(MODEL, png).predictions[0]) for png, _ in digits(_IMAGES)]
    return [
        Image(png, preprocess(decode_image(png), steps), each.label, each.score)
        for png, each in found
        if each.label is not None
    ]


def _inject(name: str, scene: Scene, row: Row) -> list[str]:
    """Do a fault, wait until all callers get right answers again, and judge the requests."""
    fault, requests = FAULTS[name], scene.callers.requests
    first, started = len(requests), time.monotonic()
    violations = []
    try:
        fault.inject(scene)
        over = time.monotonic()
        until(lambda: scene.callers.are_right_since(over), _RECOVERED_S, "right answers")
        until(scene.service.is_whole, _RECOVERED_S, "all processes, and no more")
        row.recovery = max(row.recovery, time.monotonic() - over)
    except AssertionError as error:
        violations.append(f"{name}: {error}")
    seen = requests[first:]
    row.times += 1
    row.outcomes.update(each.outcome for each in seen)
    row.slowest = max([row.slowest, *(each.ended - each.started for each in seen)])
    allowed = {"right", *(["error"] if fault.errors else [])}
    lost = sum(each.outcome == "lost" for each in seen)
    allowed |= {"lost"} if lost <= fault.loses else set()
    bad = [each for each in seen if each.outcome not in allowed]
    violations += [
        f"{name}, {each.started - started:+.1f} s: {each.caller}: {each.outcome}: {each.detail}"
        for each in bad[:3]
    ]
    if len(bad) > 3:
        violations.append(f"{name}: and {len(bad) - 3} more")
    return violations


def _growth(before: dict[str, Usage], after: dict[str, Usage]) -> list[str]:
    """What grew by more than what is no leak."""
    return [
        f"{name} of the {role} grew from {old:.0f} to {new:.0f}"
        for role, usage in before.items()
        for name, most in vars(_MORE).items()
        if (new := getattr(after[role], name)) > (old := getattr(usage, name)) + most
    ]


def _print(
    host: str, rows: dict[str, Row], before: dict[str, Usage], after: dict[str, Usage]
) -> None:
    click.echo(f"\n{host:24}times  right  errors  lost  wrong  slowest s  recovered after s")
    for name, row in sorted(rows.items()):
        counts = row.outcomes
        click.echo(
            f"{name:24}{row.times:5}{counts['right']:7}{counts['error']:8}{counts['lost']:6}"
            f"{counts['wrong']:7}{row.slowest:11.2f}{row.recovery:19.2f}"
        )
    for role, old in before.items():
        new = after[role]
        click.echo(
            f"{role:24}{old.resident_mb:.0f} -> {new.resident_mb:.0f} MB, {old.descriptors} -> "
            f"{new.descriptors} descriptors, {old.threads} -> {new.threads} threads"
        )


if __name__ == "__main__":
    main()
