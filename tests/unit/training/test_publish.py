import errno
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rockstar_contract.manifest import check_manifest
from rockstar_training.errors import ExportError
from rockstar_training.export import publication, versions


def entries(folder):
    return sorted(entry.name for entry in folder.iterdir())


def publish(folder):
    with publication(folder) as incoming:
        (incoming.folder / "variables").mkdir()
        (incoming.folder / "variables" / "version").write_text(str(incoming.version))
    return incoming


def test_versions_count_up_from_one(tmp_path):
    folder = tmp_path / "models" / "cnn"
    assert [publish(folder).version for _ in range(3)] == [1, 2, 3]
    assert entries(folder) == [".lock", "1", "2", "3"]
    assert (folder / "3" / "variables" / "version").read_text() == "3"


@pytest.mark.parametrize(
    ("taken", "following"),
    [(["007"], 8), (["9", "10"], 11), (["1", "latest", "2.5", "-3"], 2), ([".incoming-9"], 1)],
)
def test_next_version_follows_the_highest_number(tmp_path, taken, following):
    for name in taken:
        (tmp_path / name).mkdir()
    assert publish(tmp_path).version == following
    (tmp_path / str(following + 1)).touch()
    assert publish(tmp_path).version == following + 2


def test_no_version_after_the_last_that_servers_can_read(tmp_path):
    (tmp_path / str(2**63 - 1)).mkdir()
    with pytest.raises(ExportError, match="the last one there can be"):
        publish(tmp_path)


def test_incomplete_versions_have_no_number(tmp_path):
    with publication(tmp_path) as incoming:
        assert versions(tmp_path) == []
        assert incoming.folder.name.startswith(".incoming-")
        assert not incoming.target.exists()
    assert versions(tmp_path) == [1]


@pytest.mark.parametrize("error", [ValueError("half-way"), KeyboardInterrupt("stop")])
def test_an_exception_half_way_leaves_nothing(tmp_path, error):
    def fail_half_way():
        with publication(tmp_path) as incoming:
            (incoming.folder / "saved_model.pb").touch()
            raise error

    with pytest.raises(type(error), match=str(error)):
        fail_half_way()
    assert entries(tmp_path) == [".lock"]


def test_a_version_that_appears_meanwhile_is_never_replaced(tmp_path):
    def publish_beside_another():
        with publication(tmp_path) as incoming:
            incoming.target.mkdir()

    with pytest.raises(ExportError, match="appeared while it was being published"):
        publish_beside_another()
    assert entries(tmp_path) == [".lock", "1"]


def test_publishers_take_turns(tmp_path):
    entered, leave = threading.Event(), threading.Event()

    def slow():
        with publication(tmp_path) as incoming:
            (incoming.folder / "first").touch()
            entered.set()
            leave.wait(10)

    first = threading.Thread(target=slow)
    second = threading.Thread(target=publish, args=[tmp_path])
    first.start()
    assert entered.wait(10)
    second.start()
    second.join(0.2)
    assert second.is_alive()
    assert versions(tmp_path) == []
    leave.set()
    first.join(10)
    second.join(10)
    assert versions(tmp_path) == [1, 2]
    assert (tmp_path / "1" / "first").exists()


def test_versions_have_the_read_permissions_of_the_parent(tmp_path):
    mask = os.umask(0o022)
    try:
        target = publish(tmp_path).target
    finally:
        os.umask(mask)
    assert target.stat().st_mode & 0o777 == 0o755


KILLS = 20
FILES = 12
# For each line, starts a process that publishes forever, and writes its id; a line when it has ended.
# It writes a byte for every file system operation that Python audits, so that the test knows the
# progress without a clock.
PUBLISH_FOREVER = """
import os, sys
from pathlib import Path
from tests.unit.training.test_publish import fill
from rockstar_training.export import publication

WATCHED = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir")
for _ in sys.stdin:
    if not os.fork():
        os.write(1, b"%d\\n" % os.getpid())
        sys.addaudithook(lambda event, _: os.write(1, b".") if event in WATCHED else None)
        while True:
            with publication(Path(sys.argv[1])) as incoming:
                fill(incoming.folder)
    os.wait()
    os.write(1, b"\\n")
"""
TRAIN_ON_A_SMALL_DISK = """
import resource, sys
from pathlib import Path
from tests.unit.training import toys
from rockstar_training.errors import ExportError
from rockstar_training.export import export
predict, variables = toys.plain_model()
for largest_file in (2_000, 17_000, 25_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    try:
        export(predict, variables, toys.draft(), toys.golden(), Path(sys.argv[1]))
    except ExportError as error:
        print(str(error).splitlines()[0])
"""


def fill(folder: Path) -> None:
    (folder / "variables").mkdir()
    for number in range(FILES):
        (folder / "variables" / str(number)).write_bytes(os.urandom(20_000))


def require_whole(folder: Path) -> None:
    for version in versions(folder):
        assert len(check_manifest(folder / str(version)).files) == FILES


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path):
    folder = tmp_path / "models" / "toy"
    chance = random.Random(20)
    left_behind = 0
    with subprocess.Popen(
        [sys.executable, "-c", PUBLISH_FOREVER, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as publishers:
        assert publishers.stdin is not None
        assert publishers.stdout is not None
        for _ in range(KILLS):
            publishers.stdin.write(b"\n")
            pid = int(publishers.stdout.readline())
            # Up to two publications after the start, at any point.
            for _ in range(chance.randint(30, 200)):
                assert publishers.stdout.read(1) == b"."
            os.kill(pid, signal.SIGKILL)
            publishers.stdout.readline()
            require_whole(folder)
            left_behind += any(folder.glob(".incoming-*"))
            with publication(folder) as incoming:
                assert [*folder.glob(".incoming-*")] == [incoming.folder]
                fill(incoming.folder)
            require_whole(folder)
            assert versions(folder)[-1] == incoming.version
        publishers.stdin.close()
    # Otherwise nothing was interrupted, and the test proves nothing.
    assert left_behind > KILLS // 2


@pytest.mark.parametrize(
    "step",
    ["rockstar_training.export.write_manifest", "rockstar_contract.version_folders.publish"],
)
def test_a_disk_that_is_full_at_the_end(tmp_path, monkeypatch, step):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(step, full)
    with pytest.raises(ExportError, match=r"cannot publish in .*No space left"):
        publish(tmp_path)
    assert entries(tmp_path) == [".lock"]


@pytest.mark.slow
def test_an_export_that_runs_out_of_room(tmp_path):
    """Space for the smaller files only, so that TensorFlow fails while writing."""
    command = [sys.executable, "-c", TRAIN_ON_A_SMALL_DISK, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    messages = done.stdout.splitlines()
    assert len(messages) == 3
    assert all("cannot export toy" in text or "cannot publish in" in text for text in messages)
    assert entries(tmp_path / "toy") == [".lock"]
