"""A folder of models, `<folder>/<model>/<version>/`, and the labels in its `models.config`.

TensorFlow Serving reads models.config itself (--model_config_file), so labels are kept only there:

- A label must point to a version that is loaded. A model with labels is therefore served with all
  of its versions (`all`; `prune` keeps them few), so that a label can move to any of them while the
  server runs. A label that is new needs --allow_version_labels_for_unavailable_models.
- Base paths must be absolute. Every change writes them again, which corrects those of a folder that
  has moved. Symbolic links in them are kept: `current` may be swapped for another folder while it
  is served. If TensorFlow Serving finds the folder elsewhere, such as at /models in its container,
  `rockstar promote … --base-path /models` stores that path. `rockstar serve` takes labels from the
  file and paths from the folder itself.
- The file holds no history. The earlier versions of each label are in `.labels.json` beside it,
  which is written first: after a crash in between it has an entry without effect.
"""

import fcntl
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from google.protobuf import text_format

from rockstar_contract.text_files import read_text, replace_file
from rockstar_contract.version_folders import HELD_PREFIX, served_versions
from tfs_api.messages.model_server_config_pb2 import ModelConfig, ModelServerConfig

CONFIG_FILE = "models.config"
HISTORY_FILE = ".labels.json"
_LOCK = ".lock"
_HEADER = "# Written by rockstar promote, rollback and prune; comments are not kept.\n"
_KERAS_FILES = {".keras", ".h5", ".hdf5"}


class ModelFolderError(Exception):
    """A folder of models, or what is in it, cannot be used; the message says what to do."""


def find_models(folder: Path) -> dict[str, Path]:
    """The models in a folder by name: its subfolders that hold at least one numbered version.

    Raises ModelFolderError if there is none.
    """
    train = "train one: rockstar train cnn"
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise ModelFolderError(f"{folder} {what}; name a folder of models (--models), or {train}")
    try:
        models = {path.name: path for path in sorted(folder.iterdir()) if _has_version(path)}
    except OSError as error:
        raise ModelFolderError(f"{folder} cannot be read: {error.strerror}") from error
    if models:
        return models
    path = folder.absolute()
    for kind, model in (("a model", path), ("a part of a model", path.parent)):
        if _has_version(model):
            text = f"{folder} is {kind}; name the folder that holds it: {model.parent}"
            raise ModelFolderError(text)
    why = strays(folder)[:1] or [train]
    raise ModelFolderError(f"{folder} holds no model (MODEL/1/…); {why[0]}")


def strays(folder: Path) -> list[str]:
    """Describe what looks like a model in a folder but is not served; raises OSError."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        name = path.stem if path.is_file() else path.name
        command = f"rockstar import {path} --name {name}"
        if path.is_file() and path.suffix == ".tflite":
            found.append(f"{path} is not served: a version is {name}/1/model.tflite")
        elif path.is_file() and path.suffix in _KERAS_FILES:
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


def _has_version(path: Path) -> bool:
    if path.name.startswith(".") or not path.is_dir():
        return False
    try:
        return bool(served_versions(path))
    except OSError:  # an unreadable folder must not hide the others
        return False


def model_config(models: Mapping[str, Path], declared: Mapping[str, ModelConfig]) -> str:
    """A --model_config_file for models by their folders, in protobuf's text format.

    `declared` are their entries in models.config: labels, and which versions are served.
    """
    document = ModelServerConfig()
    for name, path in models.items():
        config = document.model_config_list.config.add()
        config.CopyFrom(declared.get(name, config))
        # Not resolved: symbolic links may be swapped while their folder is served.
        _locate(config, name, str(path.absolute()))
    return text_format.MessageToString(document)


def _locate(config: ModelConfig, name: str, base_path: str) -> None:
    config.name, config.base_path, config.model_platform = name, base_path, "tensorflow"


class History(msgspec.Struct, forbid_unknown_fields=True):
    """The document beside models.config.

    Attributes:
        base_path: the folder of models as TensorFlow Serving finds it; None: as it is here.
        earlier: by model and label, the versions that had the label before, the oldest first.
    """

    base_path: str | None = None
    earlier: dict[str, dict[str, list[int]]] = {}


@dataclass(frozen=True)
class LabelBook:
    """The labels of a folder's models; changes are written when editing ends."""

    folder: Path
    _configs: dict[str, ModelConfig]
    history: History

    def labels(self, model: str) -> dict[str, int]:
        """The labels of a model, with their versions."""
        config = self._configs.get(model)
        return dict(sorted(config.version_labels.items())) if config else {}

    def earlier(self, model: str, label: str) -> list[int]:
        """The versions that had a label before, the oldest first; a copy."""
        return [*self.history.earlier.get(model, {}).get(label, ())]

    def move(self, model: str, label: str, version: int, earlier: list[int]) -> None:
        """Point a label to a version, and replace the list of versions that had it before."""
        config = self._configs.setdefault(model, ModelConfig(name=model))
        config.version_labels[label] = version
        # Every labeled version must be served; a manual choice of versions is only extended.
        if self.is_specific(model):
            chosen = config.model_version_policy.specific
            chosen.versions[:] = sorted({*chosen.versions, *config.version_labels.values()})
        else:
            config.model_version_policy.all.SetInParent()
        self.history.earlier.setdefault(model, {})[label] = earlier

    def is_specific(self, model: str) -> bool:
        """Whether the file lists by number which versions of a model are served."""
        config = self._configs.get(model)
        return config is not None and config.model_version_policy.HasField("specific")

    def replace_specific(self, model: str, gone: Collection[int], version: int) -> None:
        """If versions are listed by number, list one instead of those that are gone."""
        if self.is_specific(model):
            chosen = self._configs[model].model_version_policy.specific
            chosen.versions[:] = sorted({*chosen.versions, version} - {*gone})

    def write(self) -> None:
        """Write models.config and the labels' history."""
        base = (self.history.base_path or str(self.folder.absolute())).rstrip("/")
        held = find_models(self.folder)
        # Entries of models that are gone; those added by hand have other paths and stay.
        for name in self._configs.keys() - held.keys():
            if self._configs[name].base_path == f"{base}/{name}":
                del self._configs[name]
        for name in held:
            _locate(self._configs.setdefault(name, ModelConfig()), name, f"{base}/{name}")
        document = ModelServerConfig()
        document.model_config_list.config.extend(
            config for _, config in sorted(self._configs.items())
        )
        history = msgspec.json.format(msgspec.json.encode(self.history), indent=2)
        config_text = _HEADER + text_format.MessageToString(document)
        replace_file(self.folder / HISTORY_FILE, history + b"\n")
        replace_file(self.folder / CONFIG_FILE, config_text.encode())


def read_labels(folder: Path) -> LabelBook:
    """The labels of a folder's models; none if nothing was labeled. Raises ModelFolderError."""
    text = _read(folder / HISTORY_FILE)
    try:
        history = msgspec.json.decode(text, type=History) if text is not None else History()
    except msgspec.MsgspecError as error:
        raise ModelFolderError(
            f"{folder / HISTORY_FILE} is damaged ({error}): remove it; only the earlier versions "
            "of labels are lost"
        ) from error
    return LabelBook(folder, read_models_config(folder), history)


def read_models_config(folder: Path) -> dict[str, ModelConfig]:
    """The entries of models.config by model, with labels; raises ModelFolderError."""
    path = folder / CONFIG_FILE
    try:
        document = text_format.Parse(_read(path) or "", ModelServerConfig())
    except text_format.ParseError as error:
        raise ModelFolderError(
            f"{path} is not in the text format of ModelServerConfig, or has fields that "
            f"RockstarTF does not know: {error}"
        ) from error
    return {config.name: config for config in document.model_config_list.config}


@contextmanager
def edit_labels(folder: Path) -> Iterator[LabelBook]:
    """Change labels: readers see all of the change or nothing, and writers take turns.

    Yields:
        The labels; they are written if the body does not raise.

    Raises:
        ModelFolderError: no such folder, or the files cannot be read or written.
    """
    find_models(folder)
    with changing(folder), (folder / _LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        book = read_labels(folder)
        yield book
        book.write()


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Raise a ModelFolderError for an OSError in this context."""
    try:
        yield
    except OSError as error:
        raise ModelFolderError(f"{folder} cannot be changed: {error.strerror or error}") from error


def _read(path: Path) -> str | None:
    try:
        return read_text(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelFolderError(f"{path} cannot be read: {error.strerror}") from error
