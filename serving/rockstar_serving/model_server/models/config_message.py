"""From a ModelServerConfig, as files and requests carry it, to the models to serve."""

import logging
from dataclasses import replace
from pathlib import Path, PurePath

from rockstar_serving.model_server.models.config import (
    All,
    ConfigError,
    Latest,
    ModelConfig,
    Specific,
    VersionPolicy,
)
from rockstar_serving.model_server.storage.object_store import StorageError, check_url
from tfs_api.messages.model_server_config_pb2 import (
    ModelConfig as ModelMessage,
)
from tfs_api.messages.model_server_config_pb2 import (
    ModelConfigList,
    ServableVersionPolicy,
)

log = logging.getLogger(__name__)

PLATFORM = "tensorflow"


def model_configs(message: ModelConfigList) -> tuple[ModelConfig, ...]:
    """The models of a list.

    Where TensorFlow Serving refuses a list too, the message begins with its words (server_core.cc).

    Raises:
        ConfigError: a model cannot be served, or is named twice; it names model, field, what was
            expected and what came.
    """
    names = [entry.name for entry in message.config]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"Illegal to list model {name} multiple times in config list")
    return tuple(_model(entry, number) for number, entry in enumerate(message.config, start=1))


def at(name: str, base_path: str) -> ModelConfig:
    """A model at a base path as flags and config files write it: a folder, or a URL.

    Raises:
        ConfigError: nothing can be served from there.
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


def _model(entry: ModelMessage, number: int) -> ModelConfig:
    name = entry.name
    if not name:
        raise ConfigError(f"model {number} in the list: name: expected a name, got {name!r}")
    model = at(name, _base_path(entry))
    _check_platform(entry)
    if entry.HasField("logging_config"):
        raise ConfigError(
            f"model {name}: logging_config: No request-logger-creator provided: requests are not "
            "logged, remove it"
        )
    return replace(
        model,
        policy=_policy(entry.model_version_policy, name),
        labels=_labels(entry),
    )


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


def _base_path(entry: ModelMessage) -> str:
    text = entry.base_path
    if "://" not in text and not PurePath(text).is_absolute():
        raise ConfigError(
            f"Expected model {entry.name} to have an absolute path or URI; got base_path()={text}"
        )
    return text


def _labels(entry: ModelMessage) -> dict[str, int]:
    for label, version in entry.version_labels.items():
        if not label or version < 0:
            raise ConfigError(
                f"model {entry.name}: version_labels: expected a label and a version of at least "
                f"0, got {label!r} and {version}"
            )
    return dict(entry.version_labels)


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
