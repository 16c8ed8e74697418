import os
import signal
import subprocess
import sys
import threading

import pytest

from rockstar_training.errors import ExportError
from rockstar_training.export import publication, versions

DIE_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from rockstar_training.export import publication
with publication(Path(sys.argv[1])) as incoming:
    (incoming.folder / "saved_model.pb").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


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


def test_a_file_takes_a_number_too(tmp_path):
    (tmp_path / "4").touch()
    assert publish(tmp_path).version == 5


def test_no_version_after_the_last_that_servers_can_read(tmp_path):
    (tmp_path / str(2**63 - 1)).mkdir()
    with pytest.raises(ExportError, match="the last one there can be"):
        publish(tmp_path)


def test_what_is_being_written_has_no_number(tmp_path):
    with publication(tmp_path) as incoming:
        assert versions(tmp_path) == []
        assert incoming.folder.name.startswith(".incoming-")
        assert not incoming.target.exists()
    assert versions(tmp_path) == [1]


def fail_half_way(folder, error):
    with publication(folder) as incoming:
        (incoming.folder / "saved_model.pb").touch()
        raise error


@pytest.mark.parametrize("error", [ValueError("half-way"), KeyboardInterrupt()])
def test_an_exception_half_way_leaves_nothing(tmp_path, error):
    with pytest.raises(type(error)):
        fail_half_way(tmp_path, error)
    assert entries(tmp_path) == [".lock"]


def test_a_full_disk_is_told_in_a_sentence(tmp_path):
    with pytest.raises(ExportError, match=r"cannot publish in .*No space left"):
        fail_half_way(tmp_path, OSError(28, "No space left on device"))
    assert entries(tmp_path) == [".lock"]


def test_a_version_that_appears_meanwhile_is_never_replaced(tmp_path):
    def publish_beside_another():
        with publication(tmp_path) as incoming:
            incoming.target.mkdir()

    with pytest.raises(ExportError, match="appeared while it was being published"):
        publish_beside_another()
    assert entries(tmp_path) == [".lock", "1"]


def test_a_killed_publisher_leaves_nothing_loadable_and_the_next_cleans_up(tmp_path):
    died = subprocess.run([sys.executable, "-c", DIE_WHILE_WRITING, tmp_path], timeout=60)
    assert died.returncode == -signal.SIGKILL
    assert versions(tmp_path) == []
    assert any(name.startswith(".incoming-") for name in entries(tmp_path))
    assert publish(tmp_path).version == 1
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


def test_everyone_who_may_read_the_parent_may_read_a_version(tmp_path):
    mask = os.umask(0o022)
    try:
        target = publish(tmp_path).target
    finally:
        os.umask(mask)
    assert target.stat().st_mode & 0o777 == 0o755
