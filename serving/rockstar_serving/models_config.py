"""`models.config`: the models of a folder and their version labels, in TensorFlow Serving's format.

TensorFlow Serving reads the file itself (--model_config_file), so it is the one place of labels.
Three things follow from how it does:

- A label must point to a version that is loaded. A model with labels is therefore served with all
  of its versions (`all`; `prune` keeps them few), so that a label can move to any of them while the
  server runs. For a label that is new it needs --allow_version_labels_for_unavailable_models.
- Base paths must be absolute. They are written anew with every change, so a folder that has moved
  gets right by the next one. Symbolic links in them stay: `current` may be swapped for another
  folder while it is served. Where TensorFlow Serving sees the folder elsewhere, such as at /models
  in its container, that is said once (`rockstar promote … --base-path /models`) and remembered.
  `rockstar serve` takes labels from the file and paths from the folder, wherever it lies.
- The file holds no history. What a label pointed to before lies beside it, in `.labels.json`; it is
  written first, so that a crash in between costs nothing but an entry that changes nothing.
"""

import fcntl
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from google.protobuf import text_format

from rockstar_contract.text_files import EncodingError, read_text
from rockstar_serving.model_folder import ModelFolderError, find_models
from tfs_api.messages.model_server_config_pb2 import (
    ModelConfig,
    ModelServerConfig,
)

CONFIG_FILE = "models.config"
HISTORY_FILE = ".labels.json"
_LOCK = ".lock"
_HEADER = "# Written by rockstar promote, rollback and prune; comments are not kept.\n"


class _History(msgspec.Struct, forbid_unknown_fields=True):
    """The document beside the file.

    Attributes:
        base_path: where TensorFlow Serving sees the folder of models; None is where it lies.
        earlier: by model and label, the versions that had the label before, the oldest first.
    """

    base_path: str | None = None
    earlier: dict[str, dict[str, list[int]]] = {}


@dataclass(frozen=True)
class LabelBook:
    """The labels of a folder's models; what is changed in it is written when editing ends."""

    folder: Path
    _configs: dict[str, ModelConfig]
    _history: _History

    def labels(self, model: str) -> dict[str, int]:
        """The labels of a model, with their versions."""
        config = self._configs.get(model)
        return dict(sorted(config.version_labels.items())) if config else {}

    def earlier(self, model: str, label: str) -> list[int]:
        """The versions that had a label before, the oldest first; a copy."""
        return [*self._history.earlier.get(model, {}).get(label, ())]

    def move(self, model: str, label: str, version: int, earlier: list[int]) -> None:
        """Point a label to a version, and say what had it before."""
        config = self._configs.setdefault(model, ModelConfig(name=model))
        config.version_labels[label] = version
        _keep_loaded(config)
        self._history.earlier.setdefault(model, {})[label] = earlier

    def is_specific(self, model: str) -> bool:
        """Whether somebody chose by number which versions of a model are served."""
        config = self._configs.get(model)
        return config is not None and config.model_version_policy.HasField("specific")

    def replace_specific(self, model: str, gone: Collection[int], version: int) -> None:
        """Where versions are chosen by number, choose one instead of those that are gone."""
        if self.is_specific(model):
            chosen = self._configs[model].model_version_policy.specific
            chosen.versions[:] = sorted({*chosen.versions, version} - {*gone})

    def serve_from(self, base_path: str) -> None:
        """Say where TensorFlow Serving sees the folder of models."""
        self._history.base_path = base_path

    def write(self) -> None:
        """Write models.config and the labels' history."""
        base = (self._history.base_path or str(self.folder.absolute())).rstrip("/")
        held = find_models(self.folder)
        # Of models that are gone; what was added by hand lies elsewhere and stays.
        for name in self._configs.keys() - held.keys():
            if self._configs[name].base_path == f"{base}/{name}":
                del self._configs[name]
        for name in held:
            config = self._configs.setdefault(name, ModelConfig(name=name))
            config.base_path = f"{base}/{name}"
            config.model_platform = "tensorflow"
        document = ModelServerConfig()
        document.model_config_list.config.extend(
            config for _, config in sorted(self._configs.items())
        )
        history = msgspec.json.format(msgspec.json.encode(self._history), indent=2)
        _replace(self.folder / HISTORY_FILE, history.decode() + "\n")
        text = text_format.MessageToString(document)
        _replace(self.folder / CONFIG_FILE, _HEADER + text)


def read_labels(folder: Path) -> LabelBook:
    """The labels of a folder's models; none where nothing was ever labelled.

    Raises:
        ModelFolderError: a file cannot be read, or is not in its format.
    """
    return LabelBook(folder, _read_config(folder / CONFIG_FILE), _read_history(folder))


@contextmanager
def edit_labels(folder: Path) -> Iterator[LabelBook]:
    """Change labels: readers see all of the change or nothing, and writers take turns.

    Yields:
        The labels; they are written where the body does not raise.

    Raises:
        ModelFolderError: no such folder, or the files cannot be read or written.
    """
    find_models(folder)
    try:
        with (folder / _LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            book = read_labels(folder)
            yield book
            book.write()
    except OSError as error:
        raise ModelFolderError(f"{folder} cannot be changed: {error}") from error


def declared(folder: Path) -> dict[str, ModelConfig]:
    """What the file says of each model: labels, and which versions are served.

    Raises:
        ModelFolderError: it cannot be read, or is not in its format.
    """
    return _read_config(folder / CONFIG_FILE)


def _keep_loaded(config: ModelConfig) -> None:
    """Have every labelled version served; a choice of versions made by hand is only added to."""
    policy = config.model_version_policy
    if policy.WhichOneof("policy_choice") == "specific":
        wanted = {*policy.specific.versions, *config.version_labels.values()}
        policy.specific.versions[:] = sorted(wanted)
    else:
        policy.all.SetInParent()


def _read_config(path: Path) -> dict[str, ModelConfig]:
    try:
        document = text_format.Parse(read_text(path), ModelServerConfig())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ModelFolderError(f"{path} cannot be read: {error.strerror}") from error
    except EncodingError as error:
        raise ModelFolderError(f"{path}: {error}") from error
    except text_format.ParseError as error:
        raise ModelFolderError(
            f"{path} is not in the text format of ModelServerConfig, or has fields that "
            f"RockstarTF does not know: {error}"
        ) from error
    return {config.name: config for config in document.model_config_list.config}


def _read_history(folder: Path) -> _History:
    path = folder / HISTORY_FILE
    try:
        return msgspec.json.decode(read_text(path), type=_History)
    except FileNotFoundError:
        return _History()
    except OSError as error:
        raise ModelFolderError(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, EncodingError) as error:
        raise ModelFolderError(
            f"{path} is damaged ({error}): remove it; only where labels pointed before is lost"
        ) from error


def _replace(path: Path, text: str) -> None:
    """Write a file so that readers, and a crash, find the old one or the new one."""
    # Under the lock, so the name is free; a dead writer's leftover is written over.
    new = path.with_name(f".{path.name.removeprefix('.')}.new")
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
