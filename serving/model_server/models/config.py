"""Which models to serve: from flags or from a model config file of TensorFlow Serving."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf import text_format

from serving.api.messages import model_server_config_pb2

PLATFORMS = ("", "tensorflow")


class ConfigError(Exception):
    """A configuration that cannot be used; the message says where and why."""


@dataclass(frozen=True)
class Latest:
    """Serve the highest versions."""

    count: int = 1

    def choose(self, versions: Collection[int]) -> set[int]:
        """The versions to serve, of those that there are."""
        return set(sorted(versions)[-self.count :])


@dataclass(frozen=True)
class All:
    """Serve every version."""

    def choose(self, versions: Collection[int]) -> set[int]:
        """The versions to serve, of those that there are."""
        return set(versions)


@dataclass(frozen=True)
class Specific:
    """Serve these versions."""

    versions: frozenset[int]

    def choose(self, versions: Collection[int]) -> set[int]:
        """The versions to serve, of those that there are."""
        return set(self.versions) & set(versions)


VersionPolicy = Latest | All | Specific


@dataclass(frozen=True)
class ModelConfig:
    """A model to serve.

    Attributes:
        name: clients ask for it by this.
        base_path: holds one folder for each version, named by its number.
        policy: which versions are served.
        labels: names that stand for versions.
    """

    name: str
    base_path: Path
    policy: VersionPolicy = Latest()
    labels: Mapping[str, int] = field(default_factory=dict)


def read_config_file(path: Path) -> tuple[ModelConfig, ...]:
    """The models of a file in the text format of ModelServerConfig.

    Raises:
        ConfigError: not readable, not in that format, or with a model that cannot be served.
    """
    try:
        text = path.read_text()
        message = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    except OSError as error:
        raise ConfigError(f"model config file {path} cannot be read: {error.strerror}") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ConfigError(f"model config file {path}: {error}") from error
    models = tuple(_model(entry, path) for entry in message.model_config_list.config)
    if not models:
        raise ConfigError(f"model config file {path} names no model")
    names = [model.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"model config file {path} names model {name!r} twice")
    return models


def local_path(text: str) -> Path:
    """A base path as flags and config files write it; `file://` is understood.

    Raises:
        ConfigError: on another file system.
    """
    scheme, separator, rest = text.partition("://")
    if separator and scheme != "file":
        raise ConfigError(f"base path {text}: only local folders can be served, not {scheme}://")
    return Path(rest if separator else text).expanduser().absolute()


def _model(entry: model_server_config_pb2.ModelConfig, path: Path) -> ModelConfig:
    where = f"model config file {path}, model {entry.name!r}"
    if not entry.name or "/" in entry.name or ":" in entry.name:
        raise ConfigError(f"{where}: a name is needed, without '/' and ':'")
    if not entry.base_path:
        raise ConfigError(f"{where}: base_path is missing")
    if entry.model_platform not in PLATFORMS:
        raise ConfigError(f"{where}: model_platform must be 'tensorflow'")
    return ModelConfig(
        name=entry.name,
        base_path=local_path(entry.base_path),
        policy=_policy(entry.model_version_policy, where),
        labels=dict(entry.version_labels),
    )


def _policy(policy: model_server_config_pb2.ServableVersionPolicy, where: str) -> VersionPolicy:
    match policy.WhichOneof("policy_choice"):
        case "all":
            return All()
        case "specific":
            if not policy.specific.versions:
                raise ConfigError(f"{where}: the specific policy names no version")
            return Specific(frozenset(policy.specific.versions))
        case _:
            return Latest(policy.latest.num_versions or 1)
