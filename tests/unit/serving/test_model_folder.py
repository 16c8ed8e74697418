from pathlib import Path

import pytest
from google.protobuf import text_format

from rockstar_serving.model_folder import ModelFolderError, find_models, model_config, strays
from tfs_api.messages.model_server_config_pb2 import ModelConfig, ModelServerConfig


def test_models_are_folders_with_a_numbered_version(tmp_path):
    for path in ("cnn/1", "cnn/2", "mlp/001", "empty", "notes/drafts", ".hidden/1"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "readme.txt").write_text("x")
    assert list(find_models(tmp_path)) == ["cnn", "mlp"]


def test_what_holds_no_model_says_what_to_do(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ModelFolderError, match="rockstar train"):
            find_models(folder)
    (tmp_path / "cnn" / "1").mkdir(parents=True)
    with pytest.raises(ModelFolderError, match=f"is a model; name the folder .*: {tmp_path}$"):
        find_models(tmp_path / "cnn")
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


def test_the_config_takes_labels_but_no_paths_from_what_is_declared(tmp_path):
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


def test_what_looks_like_a_model_and_is_none_is_told(tmp_path):
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
