"""Bulk prediction: files, tables and archives into a file of predictions; resumable.

Imports nothing heavy, because `rockstar predict --help` prints the defaults of `Pace`.
"""

from dataclasses import dataclass

# The path that stands for standard input.
STDIN = "-"


class BulkError(Exception):
    """A run cannot start or continue; the message says how to fix it."""


class ResumeError(BulkError):
    """An interrupted run cannot be continued with this input or these options."""


# `rockstar predict` on two cores: from 64 items and 8 concurrent requests on, speed differs by
# less than between runs; below that it is slower.
@dataclass(frozen=True)
class Pace:
    """Limits of the load on a service."""

    batch: int = 128  # maximum items per request
    batch_bytes: int = 8 * 2**20  # maximum bytes of content per request
    concurrency: int = 8  # concurrent requests
    patience: float = 60.0  # seconds to retry a service that is unavailable or overloaded


DEFAULT_PACE = Pace()
