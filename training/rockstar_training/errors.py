"""What can go wrong offline, each with a message for the person who trains.

TrainingError
 ├── ConfigError      a setting that cannot be (also a ValueError)
 ├── DataError        data that is not known or cannot be used
 ├── StoppedError     somebody pressed Ctrl-C
 └── ExportError      a model that could not be written, checked or published
"""


class TrainingError(Exception):
    """Base of all: the message says what is wrong, no traceback is needed to understand it."""


class ConfigError(TrainingError, ValueError):
    """A setting that cannot be; the message starts with its name."""


class DataError(TrainingError):
    """Data that is not known or cannot be used."""


class StoppedError(TrainingError):
    """Somebody pressed Ctrl-C; the message says from where the same training goes on."""


class ExportError(TrainingError):
    """A model that could not be written, checked or published; nothing was published."""
