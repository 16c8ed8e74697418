"""Conditions for a version folder to count as complete."""

import os
import shutil
from pathlib import Path

import pytest

from rockstar_contract.manifest import write_manifest
from rockstar_serving.model_server.models.folder_stability import (
    FolderStability,
    changed_at,
    fingerprint,
)


class Watch:
    """Checks a folder with a simulated age and clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 0.0
        self.age = 0.0
        self._stability = FolderStability(
            1.0, lambda: self.now, lambda: changed_at(fingerprint(folder)) + self.age
        )

    def wait(self, failures: int = 0) -> float:
        """Seconds until the next check; 0 for a stable folder."""
        unsettled = self._stability.check(self.folder, fingerprint(self.folder), failures)
        return unsettled.wait if unsettled else 0.0

    def hope(self) -> tuple[bool, bool]:
        unsettled = self._stability.check(self.folder, fingerprint(self.folder))
        assert unsettled is not None
        return unsettled.soon, unsettled.hopeless


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    folder = tmp_path / "3"
    (folder / "variables").mkdir(parents=True)
    (folder / "variables" / "weights").write_bytes(b"12345678")
    (folder / "saved_model.pb").touch()
    return Watch(folder)


def test_an_old_folder_has_settled_at_the_first_look(watch: Watch) -> None:
    watch.age = 1.0
    assert watch.wait() == 0


def test_a_new_one_is_looked_at_again(watch: Watch) -> None:
    watch.age = 0.25
    assert watch.wait() == pytest.approx(0.75)
    watch.now = 0.5
    assert watch.wait() == pytest.approx(0.5)
    watch.now = 1.0
    assert watch.wait() == 0


@pytest.mark.parametrize("change", ["append", "add", "rename", "remove"])
def test_every_change_begins_the_wait_anew(watch: Watch, change: str) -> None:
    weights = watch.folder / "variables" / "weights"
    watch.wait()
    watch.now = 0.5
    if change == "append":
        with weights.open("ab") as file:
            file.write(b"9")
    elif change == "add":
        (watch.folder / "model.tflite").touch()
    elif change == "rename":
        weights.rename(watch.folder / "weights")
    else:
        weights.unlink()
    assert watch.wait() == 1
    watch.now = 1.5
    assert watch.wait() == 0


def test_a_copy_that_keeps_its_times_is_new_all_the_same(watch: Watch, tmp_path: Path) -> None:
    for path in (*watch.folder.rglob("*"), watch.folder):
        os.utime(path, (0, 0))
    copy = shutil.copytree(watch.folder, tmp_path / "4")
    assert copy.stat().st_mtime == 0
    assert changed_at(fingerprint(copy)) >= changed_at(fingerprint(watch.folder)) > 0


def test_renaming_a_folder_does_not_change_its_contents(watch: Watch) -> None:
    def times(folder: Path) -> set[tuple[int, int]]:
        return {entry[2:] for entry in fingerprint(folder)}

    before = times(watch.folder)
    assert times(watch.folder.rename(watch.folder.with_name("5"))) == before


def test_a_complete_manifest_shows_that_it_is_stable(watch: Watch) -> None:
    write_manifest(watch.folder)
    assert watch.wait() == 0


@pytest.mark.parametrize("what", ["manifest", "rsync", "model"])
def test_known_incomplete_folders_get_more_time(watch: Watch, what: str) -> None:
    if what == "manifest":
        write_manifest(watch.folder)
        (watch.folder / "variables" / "weights").write_bytes(b"1234")
    elif what == "rsync":
        (watch.folder / ".model.tflite.Xy12Ab").touch()
    else:
        (watch.folder / "saved_model.pb").unlink()
    assert watch.wait() == 8
    watch.age = 8
    assert watch.wait() == 0


def test_one_that_failed_must_be_quiet_for_longer_each_time(watch: Watch) -> None:
    assert [watch.wait(failures) for failures in (0, 1, 2, 3, 20)] == [1, 2, 4, 8, 40]


def test_a_clock_that_is_ahead_does_not_matter(watch: Watch) -> None:
    watch.age = -3600
    assert watch.wait() == 1
    watch.now = 1
    assert watch.wait() == 0


def test_a_folder_that_keeps_changing_becomes_hopeless(watch: Watch) -> None:
    hopes = []
    for number in range(42):
        watch.now = number * 0.99
        (watch.folder / "weights").write_bytes(b"." * number)
        hopes.append(watch.hope())
    assert hopes[0] == (True, False)
    assert hopes[20] == (False, False)
    assert hopes[41] == (False, True)
