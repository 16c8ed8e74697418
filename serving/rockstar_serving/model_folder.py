"""Which models a folder holds: `<folder>/<model>/<version>/`."""

from collections.abc import Mapping
from pathlib import Path

from google.protobuf import text_format

from rockstar_contract.version_folders import HELD_PREFIX
from tfs_api.messages.model_server_config_pb2 import (
    ModelConfig,
    ModelConfigList,
    ModelServerConfig,
)

# Of Keras.
_MODEL_FILES = {".keras", ".h5", ".hdf5"}


class ModelFolderError(Exception):
    """A folder that cannot be used, or has nothing to serve; the message says what to do."""


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
    if not models and _has_version(folder):
        around = folder.absolute().parent
        raise ModelFolderError(f"{folder} is a model; name the folder that holds it: {around}")
    if not models:
        raise ModelFolderError(f"{folder} holds no model (MODEL/1/…); {train}")
    return models


def strays(folder: Path) -> list[str]:
    """What lies in a folder of models and looks like a model, but is not served; a sentence each.

    Raises:
        OSError: the folder cannot be read.
    """
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        name = path.stem if path.is_file() else path.name
        command = f"rockstar import {path} --name {name}"
        if path.is_file() and path.suffix == ".tflite":
            found.append(f"{path} is not served: a version is {name}/1/model.tflite")
        elif path.is_file() and path.suffix in _MODEL_FILES:
            found.append(f"{path} is not served: publish it as a version with {command}")
        elif path.is_dir() and not _has_version(path):
            if (path / "saved_model.pb").is_file():
                found.append(
                    f"{path} is not served: it holds a SavedModel but no version; move it to "
                    f"{path}/1, or publish it with {command}"
                )
            elif any(path.glob(f"{HELD_PREFIX}*")):
                found.append(
                    f"{path} is not served: its versions are held; rockstar promote {name} VERSION"
                )
            elif not any(path.glob(".incoming-*")):  # else one is just being published
                found.append(f"{path} is not served: it holds no version, such as {path.name}/1")
    return found


def model_config(models: dict[str, Path], declared: Mapping[str, ModelConfig]) -> str:
    """A --model_config_file for models, in protobuf's text format.

    Args:
        models: their folders by name.
        declared: what a models.config says of them: labels, and which versions are served.
    """
    configs = []
    for name, path in models.items():
        config = ModelConfig()
        # Not resolved: symbolic links may be swapped while their folder is served.
        config.CopyFrom(declared.get(name, config))
        config.name, config.base_path = name, str(path.absolute())
        config.model_platform = "tensorflow"
        configs.append(config)
    document = ModelServerConfig(model_config_list=ModelConfigList(config=configs))
    return text_format.MessageToString(document)


def _has_version(path: Path) -> bool:
    if path.name.startswith(".") or not path.is_dir():
        return False
    try:
        return any(child.name.isdecimal() and child.is_dir() for child in path.iterdir())
    except OSError:  # nobody may read it: it must not hide the others
        return False
