"""Where a request goes: names to versions, by the routes file."""

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
from rockstar_serving.gateway.traffic.routes import Arm, Routes, Shadow

Answer = TypeVar("Answer")
# How long, in seconds, a version that was not there gets no requests.
ABSENT_S = 5.0

log = logging.getLogger(__name__)


class Destination(msgspec.Struct, frozen=True):
    """Where a call goes.

    Attributes:
        model: the model server's name of it.
        version: None where it goes by label, or to the newest.
        label: None where it goes by number, or to the newest.
        shadow: where a copy goes.
    """

    model: str
    version: int | None = None
    label: str | None = None
    shadow: "Destination | None" = None


class Router:
    """Decides where calls of requests go; thread-safe. A request sticks to what was decided."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        # Versions that were not there, and until when they get nothing (monotonic seconds).
        self._absent: dict[tuple[str, Arm], float] = {}

    def named(self, model: str, version: int | None, label: str | None) -> Destination:
        """What a name stands for, its alias followed; what the caller names goes before that."""
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
        """Make a call to where it should go.

        A version of a split that is not there, or no more, is passed over: the file may be ahead of
        the model server.

        Args:
            model: a name or an alias.
            version: that the caller names, if any.
            label: likewise.
            call: makes it.
        """
        named = self.named(model, version, label)
        model = named.model
        route = self._routes.models.get(model)
        if route is None or named.version is not None or named.label is not None:
            return call(named)
        shadow = _sampled(model, route.shadow)
        decided = context().arms
        arms = [decided[model]] if model in decided else self._in_order(model)
        for arm in arms:
            decided[model] = arm
            try:
                return call(Destination(model, arm.version, arm.label, shadow))
            except CallError as error:
                if not is_not_there(error):
                    raise
                self._note_absence(model, arm)
        decided.pop(model, None)
        return call(Destination(model, shadow=shadow))

    def _in_order(self, model: str) -> Sequence[Arm]:
        """The one that is this request's, then the others, the heaviest first."""
        route = self._routes.models[model]
        if not route.split:
            return ()
        given = request.headers.get(route.sticky) if route.sticky else None
        place = random.random() if given is None else _place(model, given)  # noqa: S311
        chosen = _at(place, route.split)
        others = sorted(set(route.split) - {chosen}, key=lambda arm: arm.weight, reverse=True)
        return [arm for arm in (chosen, *others) if not self._is_absent(model, arm)]

    def _is_absent(self, model: str, arm: Arm) -> bool:
        return bool(self._absent) and time.monotonic() < self._absent.get((model, arm), 0.0)

    def _note_absence(self, model: str, arm: Arm) -> None:
        log.warning("%s of model %s, to which a route leads, is not there", arm, model)
        self._absent[model, arm] = time.monotonic() + ABSENT_S


def _sampled(model: str, shadow: Shadow | None) -> Destination | None:
    """Where a copy of this call goes, if it is one of those that are copied."""
    if shadow is None or random.random() >= shadow.share:  # noqa: S311
        return None
    return Destination(model, shadow.version, shadow.label)


def _place(model: str, value: str) -> float:
    """A place from 0 to 1 for a header's value: the same in every process, other for each model."""
    digest = hashlib.blake2b(f"{model}\0{value}".encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest()) / 2**64


def _at(place: float, split: Sequence[Arm]) -> Arm:
    """The arm at a place from 0 to 1; when weights move a little, few places change hands."""
    place *= sum(arm.weight for arm in split)
    for arm in split:
        place -= arm.weight
        if place < 0:
            return arm
    return split[-1]
