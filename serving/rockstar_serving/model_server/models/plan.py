"""What to load and unload next, so that the versions that a policy asks for are served."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum

from rockstar_serving.model_server.models.config import VersionPolicy


class Fitness(Enum):
    """Whether a version can be loaded now."""

    READY = "ready"
    # Soon: until then it keeps its place, and no lower version is loaded for it.
    SOON = "soon"
    # Not for a while, or never: the policy chooses among the others.
    UNFIT = "unfit"


@dataclass(frozen=True)
class Plan:
    """What to do.

    Attributes:
        load: versions, the highest first, because a lower one may be needed only if it fails.
        unload: versions.
        awaited: versions that are wanted and soon ready.
    """

    load: tuple[int, ...] = ()
    unload: tuple[int, ...] = ()
    awaited: tuple[int, ...] = ()


@dataclass(frozen=True)
class Versions:
    """The versions of a model.

    Attributes:
        found: there is a folder for them.
        serving: loaded from that very folder.
        loading: being loaded.
        available: loaded, from whatever folder.
    """

    found: Collection[int]
    serving: Collection[int]
    loading: Collection[int]
    available: Collection[int]


def make_plan(policy: VersionPolicy, versions: Versions, fitness: Callable[[int], Fitness]) -> Plan:
    """Decide for one model.

    A version is unloaded only when all that the policy chooses are served, and never for a choice
    of which nothing can be loaded: a version that does not load takes none down.

    Args:
        policy: of the model.
        versions: that there are.
        fitness: of a version that is neither served nor being loaded.
    """
    usable = set(versions.found)
    known: dict[int, Fitness] = {}
    while True:
        target = policy.choose(usable)
        missing = target - {*versions.serving, *versions.loading}
        for version in missing - known.keys():
            known[version] = fitness(version)
        unfit = {version for version in missing if known[version] == Fitness.UNFIT}
        if not unfit:
            break
        usable -= unfit
    done = target <= set(versions.serving) and (target or not policy.choose(versions.found))
    return Plan(
        load=tuple(sorted((v for v in missing if known[v] == Fitness.READY), reverse=True)),
        unload=tuple(sorted(set(versions.available) - target)) if done else (),
        awaited=tuple(sorted(v for v in missing if known[v] == Fitness.SOON)),
    )
