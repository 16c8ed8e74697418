"""Workloads: requests and numbers of connections."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.serving.system import Image, Kind, Model, Request, Run, System

MANY = 32
# More than the gateway accepts by default: two workers with 32 threads and 64 queued requests each.
OVERLOAD = 512


@dataclass(frozen=True)
class Workload:
    """A kind of traffic.

    Attributes:
        name: name in options and results.
        title: name in tables.
        recipe: kind of request, images per request, and number of such requests in a row.
        connections: numbers of connections; empty for those of the option.
        model: name of the model.
        pace: see load.http_load.
    """

    name: str
    title: str
    recipe: tuple[tuple[Kind, int, int], ...]
    connections: tuple[int, ...] = ()
    model: Model = "cnn"
    pace: str = ""

    def fits(self, system: System) -> bool:
        """Whether a system supports the workload."""
        kinds = {kind for kind, _, _ in self.recipe}
        over_http = system.protocol == "http" or not (self.pace or len(self.recipe) > 1)
        simple = self is ONE or system.role != "yardstick"
        return kinds <= set(system.kinds) and self.model in system.models and over_http and simple

    def requests(self, system: System, run: Run, images: Sequence[Image]) -> list[Request]:
        """The requests that connections repeat; they use the images in turn."""
        found = []
        at = 0
        # A recipe of a single image is repeated for all images.
        rounds = len(images) if self.recipe[0][1] == 1 and len(self.recipe) == 1 else 1
        for kind, size, count in self.recipe * rounds:
            for _ in range(count):
                chosen = [images[(at + offset) % len(images)] for offset in range(size)]
                found.append(system.request(run, kind, chosen))
                at += size
        return found


ONE = Workload("png", "one PNG", (("png", 1, 1),))
LOGISTIC = Workload("logistic", "one PNG, logistic", (("png", 1, 1),), (16,), "logistic")
OTHERS = (
    Workload("png32", "32 PNGs in one request", (("png", MANY, 1),), (4,)),
    Workload("json", "JSON array", (("json", 1, 1),), (16,)),
    Workload(
        "mix",
        "mix: 7 of one PNG, 2 JSON arrays, 1 of 32 PNGs",
        (("png", 1, 4), ("json", 1, 1), ("png", MANY, 1), ("png", 1, 3), ("json", 1, 1)),
        (16,),
    ),
    Workload("steady", "one PNG, steady: 160 per s", (("png", 1, 1),), (16,), pace="steady 100"),
    Workload(
        "bursty",
        "one PNG, bursty: 32 at once, 5 times per s",
        (("png", 1, 1),),
        (32,),
        pace="bursty 200",
    ),
)
WORKLOADS = {workload.name: workload for workload in (ONE, *OTHERS, LOGISTIC)}
