"""The model config file: ModelServerConfig in protobuf's text format, read once or watched."""

import contextlib
import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from rockstar_serving.model_server.models.config import ConfigError, ModelConfig
from rockstar_serving.model_server.models.config_message import model_configs
from rockstar_serving.model_server.text_proto import parse_text_proto, read_config
from tfs_api.messages.model_server_config_pb2 import ModelServerConfig
from tfs_api.status import Code, StatusError

log = logging.getLogger(__name__)

_EXPECTED = (
    'model_config_list { config { name: "…" base_path: "/…" model_platform: "tensorflow" } }'
)


def read_config_file(path: Path) -> tuple[ModelConfig, ...]:
    """The models of a file; none where it holds an empty model_config_list, or nothing.

    Raises:
        ConfigError: not readable, not in that format, or with a model that cannot be served.
    """
    configs = _parse(read_config(path, _where(path)), path)
    if configs is None:
        log.warning(
            "%s names no model: expected %s, or an empty model_config_list {} to begin without",
            *(_where(path), _EXPECTED),
        )
    return configs or ()


class Reloadable(Protocol):
    """What serves models: a Manager."""

    @property
    def configs(self) -> tuple[ModelConfig, ...]:
        """What is served."""

    def reload(self, configs: tuple[ModelConfig, ...]) -> None:
        """Serve these models instead.

        Raises:
            StatusError: not all of them.
        """


class ConfigFileWatcher:
    """Has a manager serve what a file says, as it changes.

    What the file says wins over what requests have set meanwhile, as in TensorFlow Serving. While
    it cannot be used, what was served before stays.
    """

    def __init__(
        self, path: Path, manager: Reloadable, seconds: float, *, labels_may_wait: bool = False
    ) -> None:
        """Make one; start() begins.

        Args:
            path: of the file.
            manager: is told what to serve.
            seconds: between looks.
            labels_may_wait: whether a label that cannot move yet, because its version is not
                loaded, holds up nothing but labels; the version may be loaded for it just then.
        """
        self._path = path
        self._manager = manager
        self._seconds = seconds
        self._labels_may_wait = labels_may_wait
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="config file", daemon=True)
        self._text: str | None = None
        self._configs: tuple[ModelConfig, ...] | None = None
        self._trouble = ""

    def start(self) -> None:
        """Watch from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; a reload that waits for its models ends with the manager."""
        self._stopping.set()

    def look(self) -> None:
        """Read the file once, and reload where it says something else than what is served."""
        try:
            text = read_config(self._path, _where(self._path))
            if text != self._text:
                self._text, self._configs = text, None
                self._configs = _parse(text, self._path)
                if self._configs is None and self._manager.configs:
                    # A file that is being written is empty for a moment.
                    raise ConfigError(
                        f"{_where(self._path)}: Cannot transition to requested config. It is only "
                        "legal to transition from one ModelConfigList to another"
                    )
            if self._configs is None:
                return  # still wrong, as reported, or still empty
            if self._configs != self._manager.configs:
                self._manager.reload(self._configs)
        except ConfigError as error:
            self._report(f"{error}; what was served before stays")
        except StatusError as error:
            self._report(f"{_where(self._path)}: {error.message}")
            if self._labels_may_wait and error.code == Code.FAILED_PRECONDITION:
                self._reload_all_but_labels()
        else:
            self._trouble = ""

    def _reload_all_but_labels(self) -> None:
        labels = {config.name: config.labels for config in self._manager.configs}
        configs = tuple(
            replace(config, labels=labels.get(config.name, {})) for config in self._configs or ()
        )
        if configs != self._manager.configs:
            # What does not load is logged; the next look tries the labels again.
            with contextlib.suppress(StatusError):
                self._manager.reload(configs)

    def _watch(self) -> None:
        while not self._stopping.wait(self._seconds):
            try:
                self.look()
            except Exception:
                # Watching must go on, whatever one look ran into.
                log.exception("model config file %s: reloading failed", self._path)

    def _report(self, trouble: str) -> None:
        """Once for each trouble, not at each look."""
        if trouble != self._trouble and not self._stopping.is_set():
            log.error("%s", trouble)
        self._trouble = trouble


def _where(path: Path) -> str:
    return f"model config file {path}"


def _parse(text: str, path: Path) -> tuple[ModelConfig, ...] | None:
    """The models; None where there is not even an empty list."""
    where = _where(path)
    message = parse_text_proto(text, ModelServerConfig, where)
    match message.WhichOneof("config"):
        case None:
            return None
        case "custom_model_config":
            raise ConfigError(f"{where}: expected {_EXPECTED}, got custom_model_config")
    try:
        return model_configs(message.model_config_list)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
