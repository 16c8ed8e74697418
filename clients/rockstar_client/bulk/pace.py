"""How hard a bulk run asks its service; apart, for help shows the defaults and imports no more."""

from dataclasses import dataclass


# Of `rockstar predict` on two cores: from 64 items and 8 requests at a time on, speed differs by
# less than from run to run; with fewer it is slower.
@dataclass(frozen=True)
class Pace:
    """How hard a service is asked.

    Attributes:
        batch: items in a request, at most.
        batch_bytes: of their contents, at most.
        concurrency: requests at a time.
        patience: seconds for which a service that is away or too busy is asked again.
    """

    batch: int = 128
    batch_bytes: int = 8 * 2**20
    concurrency: int = 8
    patience: float = 60.0


DEFAULT_PACE = Pace()
