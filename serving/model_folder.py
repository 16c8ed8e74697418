"""Which models a folder holds: `<folder>/<model>/<version>/`."""

from collections.abc import Mapping
from pathlib import Path

from google.protobuf import text_format

from serving.api.messages.model_server_config_pb2 import (
    ModelConfig,
    ModelConfigList,
    ModelServerConfig,
)

# Of the name of a version's folder while it is published but not served.
HELD_PREFIX = "held-"
_LAST_REMOVED = ".last-removed"
# Of Keras, and of what LiteRT runs.
_MODEL_FILES = {".keras", ".h5", ".hdf5", ".tflite"}


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
    if not models:
        raise ModelFolderError(f"{folder} holds no model (MODEL/1/…); {train}")
    return models


def held_versions(model: Path) -> dict[int, Path]:
    """The versions of a model that are published and not served: `held-3` and the like.

    No server loads them, TensorFlow Serving neither, because their names are no numbers.

    Args:
        model: its folder.

    Raises:
        OSError: it cannot be read.
    """
    found = {}
    for path in model.iterdir():
        number = path.name.removeprefix(HELD_PREFIX)
        if number != path.name and number.isascii() and number.isdigit() and path.is_dir():
            found[int(number)] = path
    return dict(sorted(found.items()))


def last_removed(model: Path) -> int:
    """The highest version that was ever removed from a model's folder; 0 where none was.

    Its number must not come again: servers, clients and logs know another version by it.

    Raises:
        OSError: the record cannot be read.
    """
    try:
        return int((model / _LAST_REMOVED).read_text("ascii"))
    except (FileNotFoundError, ValueError):
        return 0


def remember_removed(model: Path, version: int) -> None:
    """Have no version of this number published again.

    Raises:
        OSError: the record cannot be written.
    """
    if version > last_removed(model):
        new = model / f"{_LAST_REMOVED}.new"
        new.write_text(str(version), "ascii")
        new.replace(model / _LAST_REMOVED)


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
        if path.is_file() and path.suffix in _MODEL_FILES:
            found.append(f"{path} is not served: publish it as a version with {command}")
        elif path.is_dir() and not _has_version(path):
            if (path / "saved_model.pb").is_file():
                found.append(
                    f"{path} is not served: it holds a SavedModel but no version; move it to "
                    f"{path}/1, or publish it with {command}"
                )
            else:
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
