"""The file of labels: what is written, what is kept, and what readers see meanwhile."""

import os
import subprocess
import sys

import pytest
from google.protobuf import text_format

from rockstar_serving.model_folder import ModelFolderError
from rockstar_serving.model_server.models.config import All
from rockstar_serving.model_server.models.config_file import read_config_file
from rockstar_serving.models_config import edit_labels, read_labels
from tests.registries import add_version, written

LABEL_FROM_A_PROCESS = """
import sys
from pathlib import Path
from rockstar_serving.models_config import edit_labels
for number in range(20):
    with edit_labels(Path(sys.argv[1])) as book:
        book.move("cnn", f"{sys.argv[2]}-{number}", 1, [])
"""


@pytest.fixture
def models(tmp_path):
    for model, version in (("cnn", 1), ("cnn", 2), ("mlp", 1)):
        add_version(tmp_path, model, version)
    return tmp_path


def label(models, model, name, version):
    with edit_labels(models) as book:
        book.move(model, name, version, [])


def test_nothing_is_labelled_at_first(models):
    assert read_labels(models).labels("cnn") == {}
    assert not (models / "models.config").exists()


def test_every_model_is_in_the_file_and_labelled_ones_with_all_versions(models):
    label(models, "cnn", "stable", 1)
    cnn, mlp = (written(models)[name] for name in ("cnn", "mlp"))
    assert (cnn.base_path, cnn.model_platform) == (str(models / "cnn"), "tensorflow")
    assert dict(cnn.version_labels) == {"stable": 1}
    assert cnn.model_version_policy.WhichOneof("policy_choice") == "all"
    assert mlp.base_path == str(models / "mlp")
    assert mlp.model_version_policy.WhichOneof("policy_choice") is None


def test_a_link_is_written_as_it_was_named(models, tmp_path):
    current = tmp_path / "current"
    current.symlink_to(models)
    label(current, "cnn", "stable", 1)
    assert written(models)["cnn"].base_path == f"{current}/cnn"


def test_the_embedded_server_reads_it(models):
    label(models, "cnn", "stable", 1)
    cnn = read_config_file(models / "models.config")[0]
    assert (cnn.name, cnn.policy, cnn.labels) == ("cnn", All(), {"stable": 1})


def test_tensorflow_servings_own_message_reads_it(models):
    label(models, "cnn", "stable", 1)
    config = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    text = (models / "models.config").read_text()
    (cnn, _) = text_format.Parse(text, config.ModelServerConfig()).model_config_list.config
    assert dict(cnn.version_labels) == {"stable": 1}
    assert cnn.model_version_policy.HasField("all")


def test_a_folder_that_moved_gets_its_paths_right_with_the_next_change(models, tmp_path):
    label(models, "cnn", "stable", 1)
    moved = models.rename(tmp_path.with_name(tmp_path.name + "-moved"))
    label(moved, "cnn", "canary", 2)
    assert written(moved)["cnn"].base_path == str(moved / "cnn")
    assert dict(written(moved)["cnn"].version_labels) == {"stable": 1, "canary": 2}


def test_where_tensorflow_serving_sees_the_folder_is_remembered(models):
    with edit_labels(models) as book:
        book.serve_from("/models/")
        book.move("cnn", "stable", 1, [])
    label(models, "mlp", "stable", 1)
    assert [config.base_path for config in written(models).values()] == [
        "/models/cnn",
        "/models/mlp",
    ]


def test_what_was_added_by_hand_stays(models):
    (models / "models.config").write_text(
        """model_config_list {
          config { name: "cnn" base_path: "/x/cnn"
                   model_version_policy { specific { versions: 2 } } }
          config { name: "other" base_path: "/elsewhere/other" model_platform: "tensorflow" }
        }"""
    )
    label(models, "cnn", "stable", 1)
    configs = written(models)
    assert [*configs] == ["cnn", "mlp", "other"]
    assert [*configs["cnn"].model_version_policy.specific.versions] == [1, 2]
    assert configs["other"].base_path == "/elsewhere/other"


def test_a_model_that_is_gone_leaves_the_file(models):
    label(models, "cnn", "stable", 1)
    (models / "mlp").rename(models / ".mlp")
    label(models, "cnn", "stable", 2)
    assert [*written(models)] == ["cnn"]


def test_an_exception_changes_nothing(models):
    label(models, "cnn", "stable", 1)
    before = (models / "models.config").read_bytes()

    def fail():
        with edit_labels(models) as book:
            book.move("cnn", "stable", 2, [1])
            raise KeyError("half-way")

    with pytest.raises(KeyError):
        fail()
    assert (models / "models.config").read_bytes() == before


def test_a_disk_that_is_full_leaves_the_old_file(models, monkeypatch):
    label(models, "cnn", "stable", 1)
    before = (models / "models.config").read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelFolderError, match=r"cannot be changed: .*No space left"):
        label(models, "cnn", "stable", 2)
    assert (models / "models.config").read_bytes() == before


def test_concurrent_writers_lose_nothing(models):
    command = [sys.executable, "-c", LABEL_FROM_A_PROCESS, models]
    writers = [subprocess.Popen([*command, name]) for name in ("a", "b", "c")]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    wanted = {f"{name}-{number}" for name in "abc" for number in range(20)}
    assert read_labels(models).labels("cnn").keys() == wanted


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("models.config", b"model_config_list { x", "not in the text format of ModelServerConfig"),
        ("models.config", b"\xff", "expected UTF-8"),
        ("models.config", b"logging: 1", "fields that RockstarTF does not know"),
        (".labels.json", b"{", r"\.labels\.json is damaged .* remove it"),
        (".labels.json", b'{"earlier": {"cnn": 1}}', r"\.labels\.json is damaged"),
    ],
)
def test_files_that_cannot_be_used_are_left_alone(models, name, content, message):
    (models / name).write_bytes(content)
    with pytest.raises(ModelFolderError, match=message):
        label(models, "cnn", "stable", 1)
    assert (models / name).read_bytes() == content


def test_readers_of_other_users_may_read_it(models):
    mask = os.umask(0o022)
    try:
        label(models, "cnn", "stable", 1)
    finally:
        os.umask(mask)
    assert (models / "models.config").stat().st_mode & 0o777 == 0o644
