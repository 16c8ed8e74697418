"""Routing of requests to versions, by the routes file."""

import hashlib
import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
from flask import request

from rockstar_client.errors import CallError
from rockstar_client.tfserving_calls import is_not_there
from rockstar_serving.gateway.context import context
from rockstar_serving.gateway.routes_file import Arm, Routes

Answer = TypeVar("Answer")
# Seconds without requests for a version that was not found.
ABSENT_S = 5.0

log = logging.getLogger(__name__)


class Destination(msgspec.Struct, frozen=True):
    """The destination of a call; without version and label, the newest version.

    Attributes:
        model: its name on the model server.
        version: number.
        label: label.
        shadow: destination of a copy.
    """

    model: str
    version: int | None = None
    label: str | None = None
    shadow: "Destination | None" = None


class Router:
    """Picks the destinations of calls; all calls of a request go to the same one. Thread-safe."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        # Versions that were not found, and until when they are skipped (monotonic seconds).
        self._absent: dict[tuple[str, Arm], float] = {}

    def named(self, model: str, version: int | None, label: str | None) -> Destination:
        """Resolve an alias; the caller's version or label overrides the alias's."""
        alias = self._routes.aliases.get(model)
        if alias is None:
            return Destination(model, version, label)
        if version is None and label is None:
            version, label = alias.version, alias.label
        return Destination(alias.model, version, label)

    def follow(
        self,
        model: str,
        version: int | None,
        label: str | None,
        call: Callable[[Destination], Answer],
    ) -> Answer:
        """Make a call to its destination.

        A version of a split that is not found is skipped: the routes file may be ahead of the model
        server.

        Args:
            model: a name or an alias.
            version: requested by the caller, if any.
            label: requested by the caller, if any.
            call: makes the call.
        """
        named = self.named(model, version, label)
        model = named.model
        route = self._routes.models.get(model)
        if route is None or named.version is not None or named.label is not None:
            return call(named)
        shadow = None
        if route.shadow is not None and random.random() < route.shadow.share:  # noqa: S311
            shadow = Destination(model, route.shadow.version, route.shadow.label)
        decided = context().arms
        arms = [decided[model]] if model in decided else self._in_order(model)
        for arm in arms:
            decided[model] = arm
            try:
                return call(Destination(model, arm.version, arm.label, shadow))
            except CallError as error:
                if not is_not_there(error):
                    raise
                log.warning("%s of model %s, to which a route leads, is not there", arm, model)
                self._absent[model, arm] = time.monotonic() + ABSENT_S
        decided.pop(model, None)
        return call(Destination(model, shadow=shadow))

    def _in_order(self, model: str) -> Sequence[Arm]:
        """The arm for this request, then the others by falling weight, without absent ones."""
        route = self._routes.models[model]
        if not route.split:
            return ()
        given = request.headers.get(route.sticky) if route.sticky else None
        place = random.random() if given is None else _place(model, given)  # noqa: S311
        chosen = _at(place, route.split)
        others = sorted(set(route.split) - {chosen}, key=lambda arm: arm.weight, reverse=True)
        now = time.monotonic()
        return [arm for arm in (chosen, *others) if now >= self._absent.get((model, arm), 0.0)]


def _place(model: str, value: str) -> float:
    """Hash a header's value to a number from 0 to 1, which is the same in all processes."""
    digest = hashlib.blake2b(f"{model}\0{value}".encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest()) / 2**64


def _at(place: float, split: Sequence[Arm]) -> Arm:
    """The arm at a place from 0 to 1; if weights change a little, few places change their arm."""
    place *= sum(arm.weight for arm in split)
    for arm in split:
        place -= arm.weight
        if place < 0:
            return arm
    return split[-1]
