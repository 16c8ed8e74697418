"""A folder of models: its contents, its models.config, and concurrent readers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import text_format

from rockstar_serving.model_folder import (
    ModelFolderError,
    edit_labels,
    find_models,
    model_config,
    read_labels,
    strays,
)
from rockstar_serving.model_server.models.config import All, read_config_file
from tests.registries import add_version, written
from tfs_api.messages.model_server_config_pb2 import ModelConfig, ModelServerConfig

LABEL_FROM_A_PROCESS = """
import sys
from pathlib import Path
from rockstar_serving.model_folder import edit_labels
for number in range(20):
    with edit_labels(Path(sys.argv[1])) as book:
        book.move("cnn", f"{sys.argv[2]}-{number}", 1, [])
"""


def test_models_are_folders_with_a_numbered_version(tmp_path):
    for path in ("cnn/1", "cnn/2", "mlp/001", "empty", "notes/drafts", ".hidden/1"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "readme.txt").write_text("x")
    assert list(find_models(tmp_path)) == ["cnn", "mlp"]


def test_the_error_for_a_folder_without_models_names_the_fix(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ModelFolderError, match="rockstar train"):
            find_models(folder)
    (tmp_path / "cnn" / "v1").mkdir(parents=True)
    with pytest.raises(ModelFolderError, match="it holds no version, such as cnn/1"):
        find_models(tmp_path)
    (tmp_path / "cnn" / "1").mkdir()
    for path, kind in (("cnn", "a model"), ("cnn/1", "a part of a model")):
        with pytest.raises(ModelFolderError, match=f"is {kind}; name the folder .*: {tmp_path}$"):
            find_models(tmp_path / path)
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(ModelFolderError, match="is not a folder"):
        find_models(file)


def read(text):
    return text_format.Parse(text, ModelServerConfig()).model_config_list.config


def test_the_config_names_models_and_paths(tmp_path):
    (tmp_path / "a b" / "1").mkdir(parents=True)
    (config,) = read(model_config(find_models(tmp_path), {}))
    assert (config.name, config.base_path) == ("a b", str(tmp_path / "a b"))


def test_the_config_takes_labels_but_no_paths_from_the_declared_models(tmp_path):
    (tmp_path / "cnn" / "1").mkdir(parents=True)
    declared = ModelConfig(name="cnn", base_path="/models/cnn", version_labels={"stable": 1})
    declared.model_version_policy.all.SetInParent()
    others = ModelConfig(name="mlp", base_path="/models/mlp")
    text = model_config(find_models(tmp_path), {"cnn": declared, "mlp": others})
    (config,) = read(text)
    assert (config.base_path, dict(config.version_labels)) == (
        str(tmp_path / "cnn"),
        {"stable": 1},
    )
    assert config.model_version_policy.WhichOneof("policy_choice") == "all"


def test_the_config_keeps_links_that_may_be_swapped(tmp_path, monkeypatch):
    (tmp_path / "releases" / "42" / "cnn" / "1").mkdir(parents=True)
    (tmp_path / "current").symlink_to("releases/42")
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path / "current", Path("current"), Path("releases/../current")):
        (config,) = read(model_config(find_models(folder), {}))
        assert config.base_path == str(tmp_path / folder / "cnn")


def test_models_and_versions_may_be_links_as_a_config_map_has_them(tmp_path):
    (tmp_path / "..2026_11_28" / "cnn" / "1").mkdir(parents=True)
    (tmp_path / "..data").symlink_to("..2026_11_28")
    (tmp_path / "cnn").symlink_to("..data/cnn")
    (tmp_path / "mlp").mkdir()
    (tmp_path / "mlp" / "3").symlink_to("../..data/cnn/1")
    (config, other) = read(model_config(find_models(tmp_path), {}))
    assert (config.base_path, other.base_path) == (str(tmp_path / "cnn"), str(tmp_path / "mlp"))


def test_folders_that_only_look_like_models_are_reported(tmp_path):
    for path in ("good/1", "all_held/held-1", "coming/.incoming-ab", "empty", ".hidden"):
        (tmp_path / path).mkdir(parents=True)
    for file in ("mine.keras", "lite.tflite", "notes.txt", "raw/saved_model.pb"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(b"x")
    told = {sentence.split(" is not served: ")[0]: sentence for sentence in strays(tmp_path)}
    names = ["all_held", "empty", "lite.tflite", "mine.keras", "raw"]
    assert sorted(told) == [str(tmp_path / name) for name in names]
    assert "rockstar promote all_held VERSION" in told[str(tmp_path / "all_held")]
    assert (
        f"rockstar import {tmp_path}/mine.keras --name mine" in told[str(tmp_path / "mine.keras")]
    )
    assert f"move it to {tmp_path}/raw/1" in told[str(tmp_path / "raw")]


@pytest.fixture
def models(tmp_path):
    for model, version in (("cnn", 1), ("cnn", 2), ("mlp", 1)):
        add_version(tmp_path, model, version)
    return tmp_path


def label(models, model, name, version):
    with edit_labels(models) as book:
        book.move(model, name, version, [])


def test_every_model_is_in_the_file_and_labelled_ones_with_all_versions(models):
    label(models, "cnn", "stable", 1)
    cnn, mlp = (written(models)[name] for name in ("cnn", "mlp"))
    assert (cnn.base_path, cnn.model_platform) == (str(models / "cnn"), "tensorflow")
    assert dict(cnn.version_labels) == {"stable": 1}
    assert cnn.model_version_policy.WhichOneof("policy_choice") == "all"
    assert mlp.base_path == str(models / "mlp")
    assert mlp.model_version_policy.WhichOneof("policy_choice") is None


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
        book.history.base_path = "/models/"
        book.move("cnn", "stable", 1, [])
    label(models, "mlp", "stable", 1)
    assert [config.base_path for config in written(models).values()] == [
        "/models/cnn",
        "/models/mlp",
    ]


def test_manual_additions_stay(models):
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


def test_a_removed_model_leaves_the_file(models):
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
