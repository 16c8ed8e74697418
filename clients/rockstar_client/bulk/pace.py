"""Batch size, concurrency and patience of a bulk run; without imports, for `--help` is fast."""

from dataclasses import dataclass


# `rockstar predict` on two cores: from 64 items and 8 concurrent requests on, speed differs by
# less than between runs; below that it is slower.
@dataclass(frozen=True)
class Pace:
    """Limits of the load on a service.

    Attributes:
        batch: maximum items per request.
        batch_bytes: maximum bytes of content per request.
        concurrency: concurrent requests.
        patience: seconds to retry a service that is unavailable or overloaded.
    """

    batch: int = 128
    batch_bytes: int = 8 * 2**20
    concurrency: int = 8
    patience: float = 60.0


DEFAULT_PACE = Pace()
