import pytest
from google.protobuf import text_format

from serving.api.messages.model_server_config_pb2 import ModelServerConfig
from serving.model_folder import ModelFolderError, find_models, model_config


def test_models_are_folders_with_a_numbered_version(tmp_path):
    for path in ("cnn/1", "cnn/2", "mlp/001", "empty", "notes/drafts", ".hidden/1"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "readme.txt").write_text("x")
    assert list(find_models(tmp_path)) == ["cnn", "mlp"]


def test_what_holds_no_model_says_what_to_do(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ModelFolderError, match="rockstar train"):
            find_models(folder)
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(ModelFolderError, match="is not a folder"):
        find_models(file)


def test_the_config_names_models_and_paths(tmp_path):
    (tmp_path / "a b" / "1").mkdir(parents=True)
    text = model_config(find_models(tmp_path))
    (config,) = text_format.Parse(text, ModelServerConfig()).model_config_list.config
    assert (config.name, config.base_path) == ("a b", str(tmp_path / "a b"))
