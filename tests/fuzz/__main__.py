"""`make fuzz`: generates inputs for the decoders with atheris, a minute for each.

    python -m tests.fuzz --seconds 60 image form

Inputs that fail are kept in build/fuzz/TARGET/failures; `python -m tests.fuzz --repeat FILE TARGET`
decodes one again. Once fixed, put it into tests/fuzz/corpus as TARGET-WHAT, where the tests find it.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

FOLDER = Path("build/fuzz")
_ENDLESS_S = 60
# Whose branches guide the generation.
_INSTRUMENTED = [
    *("rockstar_contract", "rockstar_client", "rockstar_serving", "tfs_api"),
    *("PIL", "multipart", "zipfile"),
]


@click.command()
@click.option("--seconds", default=60, type=click.IntRange(1), help="For each target.")
@click.option("--repeat", type=click.Path(exists=True, path_type=Path), help="Decode just this.")
@click.option("--child", is_flag=True, hidden=True)
@click.argument("names", nargs=-1)
def main(seconds: int, repeat: Path | None, child: bool, names: tuple[str, ...]) -> None:
    """Fuzz targets, by default all; exits with status 1 if an input fails."""
    if child:
        _fuzz(names[0], seconds)
    from tests.fuzz.targets import TARGETS

    if unknown := set(names) - TARGETS.keys():
        raise click.UsageError(f"expected targets of {', '.join(TARGETS)}, got {unknown}")
    if repeat:
        for name in names or TARGETS:
            TARGETS[name].decode(repeat.read_bytes())
        return
    if not importlib.util.find_spec("atheris"):
        raise click.ClickException(
            "atheris is not installed; it has wheels for Linux on x86-64, Python 3.11 to 3.13"
        )
    click.echo(f"{'target':16}{'inputs':>10}{'per second':>12}{'peak MB':>10}  failures")
    failed = False
    for name in names or TARGETS:
        failed |= not _run(name, seconds)
    sys.exit(failed)


def _run(name: str, seconds: int) -> bool:
    """Fuzz a target in a process of its own, and print the result."""
    folder = FOLDER / name
    shutil.rmtree(folder / "failures", ignore_errors=True)
    (folder / "failures").mkdir(parents=True)
    log = folder / "log"
    # The child ends without removing its files.
    with log.open("w") as file, tempfile.TemporaryDirectory(prefix="rockstar-fuzz-") as temporary:
        code = subprocess.run(
            [sys.executable, "-m", "tests.fuzz", "--child", f"--seconds={seconds}", name],
            stdout=file,
            stderr=file,
            env=os.environ | {"TMPDIR": temporary},
        ).returncode
    text = log.read_text(errors="replace")
    statistics = dict(re.findall(r"stat::(\w+):\s+(\d+)", text))
    runs, rate, peak = (
        statistics.get(f"{key}", "-")
        for key in ("number_of_executed_units", "average_exec_per_sec", "peak_rss_mb")
    )
    failures = sorted(each.name for each in (folder / "failures").iterdir())
    note = ", ".join(failures) or ("" if code == 0 else f"status {code}, see {log}")
    click.echo(f"{name:16}{runs:>10}{rate:>12}{peak:>10}  {note}")
    return code == 0 and not failures


def _fuzz(name: str, seconds: int) -> None:
    """Fuzz a target in this process, which ends."""
    import atheris

    with atheris.instrument_imports(include=_INSTRUMENTED):
        from tests.fuzz.targets import CPU_S, MEMORY_MB, TARGETS
    target, folder = TARGETS[name], FOLDER / name
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, data in enumerate(target.inputs(name)):
        (corpus / f"seed-{number}").write_bytes(data)

    def decode(data: bytes) -> None:
        # The time of a busy machine says nothing.
        started = time.process_time()
        target.decode(data)
        seconds = time.process_time() - started
        assert seconds < CPU_S, f"it took {seconds:.1f} s of CPU"

    atheris.Setup(
        [
            sys.argv[0],
            str(corpus),
            f"-artifact_prefix={folder}/failures/",
            f"-max_len={target.max_length}",
            f"-max_total_time={seconds}",
            f"-rss_limit_mb={MEMORY_MB}",
            f"-timeout={_ENDLESS_S}",
            f"-report_slow_units={_ENDLESS_S}",
            "-print_final_stats=1",
        ],
        decode,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
