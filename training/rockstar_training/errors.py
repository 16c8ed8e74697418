"""Errors of training, import and export.

TrainingError
 ├── ConfigError      an invalid setting (also a ValueError)
 ├── DataError        data that is unknown or cannot be used
 ├── StoppedError     interrupted by Ctrl-C
 └── ExportError      a model that could not be written, checked or published
"""


class TrainingError(Exception):
    """Base class; messages are for users and need no traceback."""


class ConfigError(TrainingError, ValueError):
    """An invalid setting; the message starts with its name."""


class DataError(TrainingError):
    """Data that is unknown or cannot be used."""


class StoppedError(TrainingError):
    """Interrupted by Ctrl-C; the message says where the same training will continue."""


class ExportError(TrainingError):
    """A model that could not be written, checked or published; nothing was published."""
