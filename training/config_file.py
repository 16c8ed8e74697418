"""A run's configuration as a JSON file: written with each run, read by `--config`."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import msgspec

from serving.text_files import EncodingError, read_text
from training.config import TrainConfig, config_for
from training.errors import ConfigError

_FIELDS = {field.name: field.type for field in dataclasses.fields(TrainConfig)}


def to_json(config: TrainConfig) -> str:
    """The configuration as JSON with a line for each field."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def read_config(path: Path, **overrides: Any) -> TrainConfig:
    """Read a configuration; fields that it lacks have the default that suits the model.

    Args:
        path: a JSON object with fields of TrainConfig, of which only `model` must be there.
        overrides: values that replace the file's, where they are not None.

    Raises:
        ConfigError: no such file, not JSON, an unknown field, or a value of the wrong type or
            range; the message starts with the path.
    """
    settings = _settings(path)
    asked, written = overrides.get("model"), settings.get("model")
    if asked and written and asked != written:
        raise ConfigError(
            f"{path}: these are settings of a {written}, and {asked} was asked for: leave MODEL "
            "out, or give settings without --config"
        )
    settings |= {field: value for field, value in overrides.items() if value is not None}
    if "model" not in settings:
        raise ConfigError(f"{path}: model is missing: give one there or on the command line")
    try:
        return config_for(**settings)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _settings(path: Path) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(read_text(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except EncodingError as error:
        raise ConfigError(f"{path}: {error}") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected an object of settings")
    if isinstance(document.get("quantize"), bool):  # as written before there were modes
        document["quantize"] = "dynamic" if document["quantize"] else "none"
    unknown = sorted(set(document) - set(_FIELDS))
    if unknown:
        raise ConfigError(
            f"{path}: unknown setting {unknown[0]!r}; there are: {', '.join(sorted(_FIELDS))}"
        )
    return {field: _typed(path, field, value) for field, value in document.items()}


def _typed(path: Path, field: str, value: object) -> Any:
    """The value as the field's type; null stands for the model's default."""
    try:
        return None if value is None else msgspec.convert(value, _FIELDS[field])
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {field}: {error}") from error
