"""Publishers that die and disks that are full: nothing half-written gets a number."""

import errno
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from rockstar_contract.manifest import check_manifest
from rockstar_training import export as publishing
from rockstar_training.errors import ExportError
from rockstar_training.export import publication, versions

KILLS = 20
FILES = 12
# Publishes without end, and writes a byte for every file system operation that Python audits, which
# is how the test knows how far it is without looking at a clock.
PUBLISH_FOREVER = """
import os, sys
from pathlib import Path
from tests.unit.training.test_publish_killed import fill
from rockstar_training.export import publication

WATCHED = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir")
sys.addaudithook(lambda event, _: os.write(1, b".") if event in WATCHED else None)
while True:
    with publication(Path(sys.argv[1])) as incoming:
        fill(incoming.folder)
"""
TRAIN_ON_A_SMALL_DISK = """
import resource, sys
from pathlib import Path
from tests.unit.training import toys
from rockstar_training.errors import ExportError
from rockstar_training.export import export
predict, variables = toys.plain_model()
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    export(predict, variables, toys.draft(), toys.golden(), Path(sys.argv[1]))
except ExportError as error:
    print(error)
"""


def fill(folder: Path) -> None:
    (folder / "variables").mkdir()
    for number in range(FILES):
        (folder / "variables" / str(number)).write_bytes(os.urandom(20_000))


def require_whole(folder: Path) -> None:
    for version in versions(folder):
        assert len(check_manifest(folder / str(version)).files) == FILES


def test_killed_at_random_moments(tmp_path):
    folder = tmp_path / "models" / "toy"
    chance = random.Random(20)
    left_behind = 0
    for _ in range(KILLS):
        with subprocess.Popen(
            [sys.executable, "-c", PUBLISH_FOREVER, folder], stdout=subprocess.PIPE, bufsize=0
        ) as publisher:
            assert publisher.stdout is not None
            # Up to two publications further than the start, wherever it then is.
            for _ in range(chance.randint(30, 200)):
                assert publisher.stdout.read(1)
            publisher.kill()
        require_whole(folder)
        left_behind += any(folder.glob(".incoming-*"))
        with publication(folder) as incoming:
            assert [*folder.glob(".incoming-*")] == [incoming.folder]
            fill(incoming.folder)
        require_whole(folder)
        assert versions(folder)[-1] == incoming.version
    # Otherwise nothing was interrupted and this test has shown nothing.
    assert left_behind > KILLS // 2


@pytest.mark.parametrize("step", ["write_manifest", "_sync"])
def test_a_disk_that_is_full_at_the_end(tmp_path, monkeypatch, step):
    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def publish():
        with publication(tmp_path) as incoming:
            fill(incoming.folder)

    monkeypatch.setattr(publishing, step, full)
    with pytest.raises(ExportError, match=r"cannot publish in .*No space left"):
        publish()
    assert [entry.name for entry in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("largest_file", [2_000, 17_000, 25_000])
def test_an_export_that_runs_out_of_room(tmp_path, largest_file):
    """Room for the smaller files only, so that TensorFlow itself fails while it writes."""
    command = [sys.executable, "-c", TRAIN_ON_A_SMALL_DISK, tmp_path, str(largest_file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "cannot export toy" in done.stdout or "cannot publish in" in done.stdout
    assert [entry.name for entry in (tmp_path / "toy").iterdir()] == [".lock"]
