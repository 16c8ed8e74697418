"""Errors of training, import and export; their messages are for users and need no traceback."""


class TrainingError(Exception):
    """Base class of all errors."""


class ConfigError(TrainingError, ValueError):
    """An invalid setting; the message starts with its name."""


class DataError(TrainingError):
    """Data that is unknown or cannot be used."""


class StoppedError(TrainingError):
    """Interrupted by Ctrl-C; the message says what continues later, or what is published."""


class ExportError(TrainingError):
    """A model that could not be written, checked or published; nothing was published."""
