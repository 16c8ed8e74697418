"""The models to serve: ModelServerConfig, from a watched file in text format or from a request."""

import contextlib
import logging
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from rockstar_contract.text_files import decode_text, read_text
from rockstar_serving.model_server.object_store import ObjectStore, StorageError, check_url
from tfs_api.messages import model_server_config_pb2 as messages
from tfs_api.status import Code, StatusError

if TYPE_CHECKING:
    from rockstar_serving.model_server.models.manager import Manager
    from rockstar_serving.model_server.models.mirror import Mirror

log = logging.getLogger(__name__)

PLATFORM = "tensorflow"
_EXPECTED = (
    'model_config_list { config { name: "…" base_path: "/…" model_platform: "tensorflow" } }'
)

Kind = TypeVar("Kind", bound=Message)


class ConfigError(Exception):
    """An invalid configuration; the message says where and why."""


@dataclass(frozen=True)
class Latest:
    """Serve the highest versions."""

    count: int = 1

    def choose(self, versions: Collection[int]) -> set[int]:
        """Choose from the existing versions."""
        return set(sorted(versions)[-self.count :])


@dataclass(frozen=True)
class All:
    """Serve every version."""

    def choose(self, versions: Collection[int]) -> set[int]:
        """Choose from the existing versions."""
        return set(versions)


@dataclass(frozen=True)
class Specific:
    """Serve these versions."""

    versions: frozenset[int]

    def choose(self, versions: Collection[int]) -> set[int]:
        """Choose from the existing versions."""
        return set(self.versions) & set(versions)


VersionPolicy = Latest | All | Specific


@dataclass(frozen=True)
class ModelConfig:
    """A model to serve.

    Attributes:
        name: in requests.
        base_path: holds one folder for each version, named by its number.
        policy: which versions are served.
        labels: names for versions.
        url: of the object store that holds the versions instead; "": none.
        mirror: keeps local copies of these in base_path; None until it is created.
    """

    name: str
    base_path: Path
    policy: VersionPolicy = Latest()
    labels: Mapping[str, int] = field(default_factory=dict)
    url: str = ""
    mirror: "Mirror | None" = field(default=None, compare=False)

    @property
    def place(self) -> str:
        """The URL or folder of its versions, for messages."""
        return self.url or str(self.base_path)

    def explain_missing(self, found: Collection[int]) -> str:
        """Explain which versions the policy needs but are not among those found; "" if none."""
        if not found:
            models = ("saved_model.pb", "model.tflite")
            holds_model = any((self.base_path / name).exists() for name in models)
            hint = ": it holds a model itself, which belongs in a folder below it"
            return f"no version folder, such as 1, in the base path{hint if holds_model else ''}"
        if not self.policy.choose(found):
            return f"its policy matches none of the versions {sorted(found)}"
        if isinstance(self.policy, Specific) and (absent := self.policy.versions - set(found)):
            return (
                f"its policy asks for the versions {sorted(absent)}, which are not in the base path"
            )
        return ""


def read_config(file: Path | str, where: str) -> str:
    """Read the text of a configuration file, which errors call `where`; raises ConfigError.

    A text is the URL of an object in an object store.
    """
    try:
        if isinstance(file, Path):
            return read_text(file)
        folder, _, name = file.rpartition("/")
        check_url(folder)
        found = ObjectStore(folder).read(name)
        if found is None:
            raise ConfigError(f"{where} does not exist")
        return decode_text(found[0])
    except StorageError as error:
        raise ConfigError(f"{where}: {error}") from error
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {error.strerror}") from error


def parse_text_proto(
    text: str, kind: type[Kind], where: str, *, hint: str = "", secret: bool = False
) -> Kind:
    """Parse a message in protobuf's text format.

    Args:
        text: of the file.
        kind: class of the message.
        where: name of the file in errors, such as "model config file /etc/models.config".
        hint: what to write instead, for errors.
        secret: whether errors must not quote the text.

    Raises:
        ConfigError: the text is in another format. The message contains that of TensorFlow
            Serving's log (protobuf's `text_format.cc`), for which its tests and scripts look.
    """
    try:
        return text_format.Parse(text, kind())
    except text_format.ParseError as error:
        found = f"line {error.GetLine()}" if secret else str(error)
        found = found.replace(f"{kind.DESCRIPTOR.file.package}.", "tensorflow.serving.")
        raise ConfigError(
            f"{where}: Error parsing text-format tensorflow.serving.{kind.DESCRIPTOR.name}: {found}"
            + (f" ({hint})" if hint else "")
        ) from (None if secret else error)


def read_config_file(path: Path | str) -> tuple[ModelConfig, ...]:
    """Read the models of a file, none if its list is empty or missing; raises ConfigError."""
    where = _where(path)
    configs = _parse(read_config(path, where), where)
    if configs is None:
        log.warning(
            "%s names no model: expected %s, or an empty model_config_list {} to begin without",
            where,
            _EXPECTED,
        )
    return configs or ()


def model_configs(message: messages.ModelConfigList) -> tuple[ModelConfig, ...]:
    """Read the models of a list; raises ConfigError if one is invalid or listed twice.

    Errors that TensorFlow Serving reports too begin with its message (server_core.cc).
    """
    names = [entry.name for entry in message.config]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"Illegal to list model {name} multiple times in config list")
    return tuple(_model(entry, number) for number, entry in enumerate(message.config, start=1))


def model_config(name: str, base_path: str) -> ModelConfig:
    """Make the configuration of a model from a base path: a folder or a URL; raises ConfigError."""
    scheme, separator, rest = base_path.partition("://")
    if not separator or scheme == "file":
        folder = Path(rest if separator else base_path).expanduser().absolute()
        return ModelConfig(name, folder)
    try:
        check_url(base_path)
    except StorageError as error:
        raise ConfigError(f"model {name}: base path {base_path}: {error}") from error
    return ModelConfig(name, Path(), url=base_path.rstrip("/"))


def _where(path: Path | str) -> str:
    return f"model config file {path}"


def _parse(text: str, where: str) -> tuple[ModelConfig, ...] | None:
    """Read the models of a file; None if there is no list, not even an empty one."""
    message = parse_text_proto(text, messages.ModelServerConfig, where)
    match message.WhichOneof("config"):
        case None:
            return None
        case "custom_model_config":
            raise ConfigError(f"{where}: expected {_EXPECTED}, got custom_model_config")
    try:
        return model_configs(message.model_config_list)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _model(entry: messages.ModelConfig, number: int) -> ModelConfig:
    name, base_path = entry.name, entry.base_path
    if not name:
        raise ConfigError(f"model {number} in the list: name: expected a name, got {name!r}")
    if "://" not in base_path and not PurePath(base_path).is_absolute():
        raise ConfigError(
            f"Expected model {name} to have an absolute path or URI; got base_path()={base_path}"
        )
    model = model_config(name, base_path)
    if error := _platform_error(entry):
        raise ConfigError(error)
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


def _platform_error(entry: messages.ModelConfig) -> str:
    kind, name = messages.ModelConfig, entry.name
    if entry.model_type and entry.model_platform:
        return (
            "Illegal setting both ModelServerConfig::model_type (deprecated) and "
            f"ModelServerConfig::model_platform, model name is {name}"
        )
    if entry.model_type not in (kind.MODEL_TYPE_UNSPECIFIED, kind.TENSORFLOW):
        return (
            f"model {name}: ModelServerConfig::model_type choice {entry.model_type} not supported: "
            f'write model_platform: "{PLATFORM}"'
        )
    if entry.model_platform not in ("", PLATFORM):
        return (
            f"Model {name} requests unsupported platform {entry.model_platform}: "
            f'model_platform: expected "{PLATFORM}"'
        )
    if not entry.model_type and not entry.model_platform:
        return (
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {name}: write "
            f'model_platform: "{PLATFORM}"'
        )
    return ""


def _policy(policy: messages.ServableVersionPolicy, model: str) -> VersionPolicy:
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


class ConfigFileWatcher:
    """Reloads the models of a manager when their config file changes.

    The file overrides configurations set by requests, as in TensorFlow Serving. While the file is
    invalid, the manager keeps serving its current models.
    """

    def __init__(
        self,
        path: Path | str,
        manager: "Manager",
        seconds: float,
        *,
        labels_may_wait: bool = False,
        reloaded: Callable[[], object] = lambda: None,
    ) -> None:
        """Create a watcher that checks the file every so many seconds, once it is started.

        With labels_may_wait, it reloads everything but the labels while a label cannot move because
        its version is not loaded yet. `reloaded` is called after each reload, also a failed one.
        """
        self._path = path
        self._where = _where(path)
        self._manager = manager
        self._seconds = seconds
        self._labels_may_wait = labels_may_wait
        self._reloaded = reloaded
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
            text = read_config(self._path, self._where)
            if text != self._text:
                self._text, self._configs = text, None
                self._configs = _parse(text, self._where)
                if self._configs is None and self._manager.configs:
                    # A file that is being written is empty for a moment.
                    raise ConfigError(
                        f"{self._where}: Cannot transition to requested config. It is only "
                        "legal to transition from one ModelConfigList to another"
                    )
            if self._configs is None:
                return  # still invalid, as reported, or still empty
            self._reload(self._configs)
        except ConfigError as error:
            self._report(f"{error}; what was served before stays")
        except StatusError as error:
            if self._labels_may_wait and error.code == Code.FAILED_PRECONDITION:
                waits = f"{error.message}; labels wait for it"
                self._report(f"{self._where}: {waits}", logging.WARNING)
                self._reload_all_but_labels(self._configs or ())
            else:
                self._report(f"{self._where}: {error.message}")
        else:
            self._problem = ""

    def _reload(self, configs: tuple[ModelConfig, ...]) -> None:
        if configs != self._manager.configs:
            try:
                self._manager.reload(configs)
            finally:
                self._reloaded()

    def _reload_all_but_labels(self, configs: tuple[ModelConfig, ...]) -> None:
        labels = {config.name: config.labels for config in self._manager.configs}
        configs = tuple(replace(each, labels=labels.get(each.name, {})) for each in configs)
        # Load errors are logged; the next check tries the labels again.
        with contextlib.suppress(StatusError):
            self._reload(configs)

    def _watch(self) -> None:
        while not self._stopping.wait(self._seconds):
            try:
                self.check()
            except Exception:  # an unexpected error in one check must not end the thread
                log.exception("%s: reloading failed", self._where)

    def _report(self, problem: str, level: int = logging.ERROR) -> None:
        """Log each problem once, not in every check."""
        if problem != self._problem and not self._stopping.is_set():
            log.log(level, "%s", problem)
        self._problem = problem
