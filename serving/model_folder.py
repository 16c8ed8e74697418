"""Which models a folder holds: `<folder>/<model>/<version>/`."""

from pathlib import Path

from google.protobuf import text_format

from serving.api.messages.model_server_config_pb2 import (
    ModelConfig,
    ModelConfigList,
    ModelServerConfig,
)


class ModelFolderError(Exception):
    """A folder without anything to serve; the message says what to do."""


def find_models(folder: Path) -> dict[str, Path]:
    """The models in a folder by name: its subfolders that hold at least one numbered version.

    Raises:
        ModelFolderError: no such folder, or no model in it.
    """
    train = "train one: rockstar train cnn"
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise ModelFolderError(f"{folder} {what}; name a folder of models (--models), or {train}")
    try:
        models = {path.name: path for path in sorted(folder.iterdir()) if _has_version(path)}
    except OSError as error:
        raise ModelFolderError(f"{folder} cannot be read: {error.strerror}") from error
    if not models:
        raise ModelFolderError(f"{folder} holds no model (MODEL/1/…); {train}")
    return models


def model_config(models: dict[str, Path]) -> str:
    """A --model_config_file for models, in protobuf's text format."""
    configs = [
        ModelConfig(name=name, base_path=str(path.resolve()), model_platform="tensorflow")
        for name, path in models.items()
    ]
    config = ModelServerConfig(model_config_list=ModelConfigList(config=configs))
    return text_format.MessageToString(config)


def _has_version(path: Path) -> bool:
    if path.name.startswith(".") or not path.is_dir():
        return False
    return any(child.name.isdecimal() and child.is_dir() for child in path.iterdir())
