"""ModelServerConfig: the models to serve, from a watched file in text format or from a request."""

import contextlib
import logging
import threading
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Protocol

from rockstar_serving.model_server.models.config import (
    All,
    ConfigError,
    Latest,
    ModelConfig,
    Specific,
    VersionPolicy,
)
from rockstar_serving.model_server.storage.object_store import StorageError, check_url
from rockstar_serving.model_server.text_proto import parse_text_proto, read_config
from tfs_api.messages.model_server_config_pb2 import (
    ModelConfig as ModelMessage,
)
from tfs_api.messages.model_server_config_pb2 import (
    ModelConfigList,
    ModelServerConfig,
    ServableVersionPolicy,
)
from tfs_api.status import Code, StatusError

log = logging.getLogger(__name__)

PLATFORM = "tensorflow"
_EXPECTED = (
    'model_config_list { config { name: "…" base_path: "/…" model_platform: "tensorflow" } }'
)


def read_config_file(path: Path) -> tuple[ModelConfig, ...]:
    """Read the models of a file; none if its model_config_list is empty or missing.

    Raises:
        ConfigError: the file cannot be read, is in another format, or has an invalid model.
    """
    where = _where(path)
    configs = _parse(read_config(path, where), path)
    if configs is None:
        log.warning(
            "%s names no model: expected %s, or an empty model_config_list {} to begin without",
            *(where, _EXPECTED),
        )
    return configs or ()


def model_configs(message: ModelConfigList) -> tuple[ModelConfig, ...]:
    """Read the models of a list.

    Errors that TensorFlow Serving reports too begin with its message (server_core.cc).

    Raises:
        ConfigError: a model is invalid or listed twice; names the model, the field, what was
            expected and what was received.
    """
    names = [entry.name for entry in message.config]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"Illegal to list model {name} multiple times in config list")
    return tuple(_model(entry, number) for number, entry in enumerate(message.config, start=1))


def model_config(name: str, base_path: str) -> ModelConfig:
    """Make the configuration of a model from a base path: a folder or a URL.

    Raises:
        ConfigError: the URL is not supported.
    """
    scheme, separator, rest = base_path.partition("://")
    if not separator or scheme == "file":
        folder = Path(rest if separator else base_path).expanduser().absolute()
        return ModelConfig(name, folder)
    try:
        check_url(base_path)
    except StorageError as error:
        raise ConfigError(f"model {name}: base path {base_path}: {error}") from error
    return ModelConfig(name, Path(), url=base_path.rstrip("/"))


class Reloadable(Protocol):
    """Serves models, as Manager does."""

    @property
    def configs(self) -> tuple[ModelConfig, ...]:
        """The models that are served."""

    def reload(self, configs: tuple[ModelConfig, ...]) -> None:
        """Serve these models instead.

        Raises:
            StatusError: not all models could be served.
        """


class ConfigFileWatcher:
    """Reloads the models of a manager when their config file changes.

    The file overrides configurations set by requests, as in TensorFlow Serving. While the file is
    invalid, the manager keeps serving its current models.
    """

    def __init__(
        self, path: Path, manager: Reloadable, seconds: float, *, labels_may_wait: bool = False
    ) -> None:
        """Create a watcher; start() starts its thread.

        Args:
            path: of the file.
            manager: serves the models.
            seconds: between checks of the file.
            labels_may_wait: whether to reload everything but the labels while a label cannot move
                because its version is not loaded yet.
        """
        self._path = path
        self._manager = manager
        self._seconds = seconds
        self._labels_may_wait = labels_may_wait
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="config file", daemon=True)
        self._text: str | None = None
        self._configs: tuple[ModelConfig, ...] | None = None
        self._problem = ""

    def start(self) -> None:
        """Start watching."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; a reload that waits for models ends when the manager stops."""
        self._stopping.set()

    def check(self) -> None:
        """Read the file once, and reload if its models differ from those served."""
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
            self._problem = ""

    def _reload_all_but_labels(self) -> None:
        labels = {config.name: config.labels for config in self._manager.configs}
        configs = tuple(
            replace(config, labels=labels.get(config.name, {})) for config in self._configs or ()
        )
        if configs != self._manager.configs:
            # Load errors are logged; the next check tries the labels again.
            with contextlib.suppress(StatusError):
                self._manager.reload(configs)

    def _watch(self) -> None:
        while not self._stopping.wait(self._seconds):
            try:
                self.check()
            except Exception:
                # Watching must go on, whatever happened in one check.
                log.exception("model config file %s: reloading failed", self._path)

    def _report(self, problem: str) -> None:
        """Log each problem once, not in every check."""
        if problem != self._problem and not self._stopping.is_set():
            log.error("%s", problem)
        self._problem = problem


def _where(path: Path) -> str:
    return f"model config file {path}"


def _parse(text: str, path: Path) -> tuple[ModelConfig, ...] | None:
    """Read the models; None if there is no list, not even an empty one."""
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


def _model(entry: ModelMessage, number: int) -> ModelConfig:
    name, base_path = entry.name, entry.base_path
    if not name:
        raise ConfigError(f"model {number} in the list: name: expected a name, got {name!r}")
    if "://" not in base_path and not PurePath(base_path).is_absolute():
        raise ConfigError(
            f"Expected model {name} to have an absolute path or URI; got base_path()={base_path}"
        )
    model = model_config(name, base_path)
    _check_platform(entry)
    if entry.HasField("logging_config"):
        raise ConfigError(
            f"model {name}: logging_config: No request-logger-creator provided: requests are not "
            "logged, remove it"
        )
    for label, version in entry.version_labels.items():
        if not label or version < 0:
            raise ConfigError(
                f"model {name}: version_labels: expected a label and a version of at least 0, got "
                f"{label!r} and {version}"
            )
    policy = _policy(entry.model_version_policy, name)
    return replace(model, policy=policy, labels=dict(entry.version_labels))


def _check_platform(entry: ModelMessage) -> None:
    if entry.model_type and entry.model_platform:
        raise ConfigError(
            "Illegal setting both ModelServerConfig::model_type (deprecated) and "
            f"ModelServerConfig::model_platform, model name is {entry.name}"
        )
    if entry.model_type not in (ModelMessage.MODEL_TYPE_UNSPECIFIED, ModelMessage.TENSORFLOW):
        raise ConfigError(
            f"model {entry.name}: ModelServerConfig::model_type choice {entry.model_type} not "
            f'supported: write model_platform: "{PLATFORM}"'
        )
    if entry.model_platform not in ("", PLATFORM):
        raise ConfigError(
            f"Model {entry.name} requests unsupported platform {entry.model_platform}: "
            f'model_platform: expected "{PLATFORM}"'
        )
    if not entry.model_type and not entry.model_platform:
        raise ConfigError(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {entry.name}: write "
            f'model_platform: "{PLATFORM}"'
        )


def _policy(policy: ServableVersionPolicy, model: str) -> VersionPolicy:
    match policy.WhichOneof("policy_choice"):
        case "all":
            return All()
        case "specific":
            versions = list(policy.specific.versions)
            if not versions:
                log.warning("No specific versions requested for servable %s.", model)
            if any(version < 0 for version in versions):
                raise ConfigError(
                    f"model {model}: model_version_policy.specific.versions: expected versions of "
                    f"at least 0, got {', '.join(map(str, versions))}"
                )
            return Specific(frozenset(versions))
        case _:
            return Latest(policy.latest.num_versions or 1)
