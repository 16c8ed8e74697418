from rockstar_contract.version_folders import (
    held_versions,
    last_removed,
    numbered,
    remember_removed,
    served_versions,
)


def test_versions_are_folders_named_by_whole_numbers(tmp_path):
    names = ("10", "2", "held-3", "held-x", "٣", "-1", "1.5", ".incoming-4", "assets")
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / "7").touch()
    (tmp_path / "held-8").touch()
    assert [*served_versions(tmp_path).items()] == [(2, tmp_path / "2"), (10, tmp_path / "10")]
    assert held_versions(tmp_path) == {3: tmp_path / "held-3"}


def test_the_shortest_name_of_a_version_is_used():
    assert numbered(["001", "1", "01", f"{2**63}", f"{2**63 - 1}"]) == {
        1: "1",
        2**63 - 1: f"{2**63 - 1}",
    }


def test_the_highest_removed_version_is_recorded(tmp_path):
    assert last_removed(tmp_path) == 0
    for version in (3, 2):
        remember_removed(tmp_path, version)
    assert last_removed(tmp_path) == 3
