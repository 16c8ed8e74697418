"""Routing by the routes file: aliases, splits and shadows, for tensors and examples.

A shadow gets copies of requests; its answers are compared and discarded. One background thread
makes the copies. If its queue is full, a copy is dropped.
"""

import hashlib
import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from rockstar_client.backend import Backend, BackendCall, Query, TensorResponse
from rockstar_client.calls import run
from rockstar_client.errors import CallError
from rockstar_client.predictor import ModelInputs, Predicted, PredictionSteps, Predictor, Steps
from rockstar_client.tfserving_messages import is_not_found
from rockstar_contract.contract import Input
from rockstar_contract.errors import InvalidInputError
from rockstar_serving.gateway.backends import BackendWrapper
from rockstar_serving.gateway.context import RequestContext, context
from rockstar_serving.gateway.observers import Comparison, Observer, PredictionEvent
from rockstar_serving.gateway.routes_file import Arm, Routes
from tfs_api.status import Code

# Seconds without requests for a version that was not found.
ABSENT_S = 5.0
# Maximum number of waiting copies; each holds the inputs of a request.
WAITING = 16
# Timeout of a copy.
SHADOW_TIMEOUT_S = 10.0

Answer = TypeVar("Answer")
# Made once, because annotations of functions in functions are evaluated at each call.
_PredictedSteps = Steps[Predicted]

log = logging.getLogger(__name__)


class Router:
    """Picks the destinations of calls; all calls of a request go to the same one. Thread-safe."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        # Versions that were not found, and until when they are skipped (monotonic seconds).
        self._absent: dict[tuple[str, Arm], float] = {}

    def resolve(self, query: Query) -> Query:
        """Resolve an alias; the caller's version or label overrides the alias's."""
        alias = self._routes.aliases.get(query.model)
        if alias is None:
            return query
        if query.version is not None or query.label is not None:
            return replace(query, model=alias.model)
        return replace(query, model=alias.model, version=alias.version, label=alias.label)

    def follow(
        self, query: Query, call: Callable[[Query, Query | None], Steps[Answer]]
    ) -> Steps[Answer]:
        """Make a call, which gets the query for its destination, and for the shadow, if any.

        A version of a split that is not found is skipped: the routes file may be ahead of the model
        server.
        """
        query = self.resolve(query)
        model = query.model
        route = self._routes.models.get(model)
        if route is None or query.version is not None or query.label is not None:
            return (yield from call(query, None))
        shadow, copied = None, route.shadow
        if copied is not None and random.random() < copied.share:  # noqa: S311 (a sample, no secret)
            shadow = replace(
                query, version=copied.version, label=copied.label, timeout=SHADOW_TIMEOUT_S
            )
        decided = context().arms
        for arm in [decided[model]] if model in decided else self._in_order(model):
            decided[model] = arm
            try:
                to = replace(query, version=arm.version, label=arm.label)
                return (yield from call(to, shadow))
            except CallError as error:
                if not is_not_found(error):
                    raise
                log.warning("%s of model %s, to which a route leads, is not there", arm, model)
                self._absent[model, arm] = time.monotonic() + ABSENT_S
        decided.pop(model, None)
        return (yield from call(query, shadow))

    def _in_order(self, model: str) -> Sequence[Arm]:
        """The arm for this request, then the others by descending weight, without absent ones."""
        route = self._routes.models[model]
        if not route.split:
            return ()
        given = context().header(route.sticky.lower()) if route.sticky else None
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


class Upstream:
    """Makes the calls of a request; the time of each is its phase "upstream".

    Attributes:
        backend: the model server.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def send(self, call: BackendCall) -> Any:
        """Make a call, and wait for the result."""
        with context().phase("upstream"):
            return call(self.backend)


class RoutedBackend(BackendWrapper, Upstream):
    """A backend for tensors that applies the routes; within a request only."""

    def __init__(self, backend: Backend, router: Router, shadows: "Shadows") -> None:
        BackendWrapper.__init__(self, backend)
        Upstream.__init__(self, backend)
        self._router = router
        self._shadows = shadows

    def _run(self, method: Callable[[Query], Answer], query: Query) -> Answer:
        answer: Answer = run(self.steps(method.__name__, query), self.send)
        return answer

    def steps(self, method: str, query: Query) -> Steps[Any]:
        """The steps of a call of a Backend's method."""
        if method == "status":  # a split does not hide the other versions of a model
            return (yield BackendCall(method, self._router.resolve(query)))

        def call(to: Query, shadow: Query | None) -> Steps[Any]:
            response = yield BackendCall(method, to)
            if isinstance(response, TensorResponse):
                context().version = response.version
                if shadow is not None:
                    self._shadows.offer(
                        to.model,
                        lambda: compare(
                            to.model, response.outputs, self.backend.predict(shadow).outputs
                        ),
                    )
            return response

        return (yield from self._router.follow(query, call))


class RoutedPredictor(Upstream):
    """Predicts examples by a model's contract: routed, preprocessed, observed; thread-safe."""

    def __init__(
        self,
        backend: Backend,
        shadow_backend: Backend,
        router: Router,
        shadows: "Shadows",
        observer: Observer,
    ) -> None:
        super().__init__(backend)
        self._steps = PredictionSteps()
        self._shadow_predictor = Predictor(shadow_backend)
        self._router = router
        self._shadows = shadows
        self._observer = observer

    def predict(
        self,
        current: RequestContext,
        prepare: Callable[[Input], ModelInputs],
        *,
        version: int | None = None,
        label: str | None = None,
        examples: Sequence[Any] | None = None,
        prepare_copy: Callable[[Input], ModelInputs] | None = None,
    ) -> Steps[Predicted]:
        """The steps of predicting a batch; see rockstar_client.predictor.Predictor.predict.

        Args:
            current: the request; its model may be an alias, and its deadline is the timeout.
            prepare: preprocesses the batch for the input that a contract describes.
            version: number; None is the newest, or the routes file's choice.
            label: picks the version instead.
            examples: as they were sent. None: the gateway made them up; they are neither observed
                nor copied.
            prepare_copy: prepares the batch for a shadow whose input differs, in another thread;
                None: `prepare` may run there.

        Raises:
            CallError: the call failed, or the time ran out.
            InvalidInputError: raised by `prepare`.
        """

        def timed(spec: Input) -> ModelInputs:
            with current.phase("preprocess"):
                return prepare(spec)

        def predict(to: Query, shadow: Query | None) -> _PredictedSteps:
            predicted = yield from self._steps.predict(to, timed, current.time_left)
            current.version = predicted.contract.version
            if examples is not None:
                self._observer.predicted(PredictionEvent(current, to.model, examples, predicted))
                if shadow is not None:
                    again = prepare_copy or prepare
                    self._shadows.offer(to.model, lambda: self._compare(predicted, shadow, again))
            return predicted

        return self._router.follow(Query(current.model, version=version, label=label), predict)

    def forget(self, model: str) -> None:
        """Forget the contracts of a removed model."""
        self._steps.forget(model)
        self._shadow_predictor.forget(model)

    def _compare(
        self, predicted: Predicted, to: Query, prepare: Callable[[Input], ModelInputs]
    ) -> Comparison:
        def prepared(spec: Input) -> ModelInputs:
            return predicted.inputs if spec == predicted.contract.input else prepare(spec)

        other = self._shadow_predictor.predict(to, prepared)
        labels = predicted.contract.labels
        if sorted(other.contract.labels) != sorted(labels):
            return Comparison(to.model, Code.FAILED_PRECONDITION)
        if predicted.named and other.named:
            return compare(to.model, dict(predicted.named), dict(other.named))
        outputs = other.outputs
        if other.contract.labels != labels:  # the same in another order
            outputs = outputs[:, np.array([other.contract.labels.index(name) for name in labels])]
        name = predicted.contract.output
        return compare(to.model, {name: predicted.outputs}, {name: outputs})


class Shadows:
    """The queue and thread of copies; thread-safe."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._waiting: queue.Queue[tuple[str, Callable[[], Comparison]]] = queue.Queue(WAITING)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def offer(self, model: str, copy: Callable[[], Comparison]) -> None:
        """Queue a copy, or drop it if the queue is full."""
        try:
            self._waiting.put_nowait((model, copy))
        except queue.Full:
            self._observer.shadowed(Comparison(model, Code.RESOURCE_EXHAUSTED))
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="shadows", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            model, copy = self._waiting.get()
            try:
                comparison = copy()
            except CallError as error:
                comparison = Comparison(model, error.code)
            except InvalidInputError:
                comparison = Comparison(model, Code.INVALID_ARGUMENT)
            except Exception:  # the thread must go on
                log.exception("the shadow of model %s could not be compared", model)
                comparison = Comparison(model, Code.INTERNAL)
            self._observer.shadowed(comparison)


def compare(
    model: str, answer: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]
) -> Comparison:
    """Compare two answers to the same inputs, row by row.

    Rows of several floating-point columns agree if their largest value is in the same column. Other
    rows agree if they are equal; floating-point numbers may differ by one percent.
    """
    arrays = {
        name: (np.atleast_1d(array), np.atleast_1d(other[name]))
        for name, array in answer.items()
        if name in other
    }
    if not arrays or any(one.shape != two.shape for one, two in arrays.values()):
        return Comparison(model, Code.FAILED_PRECONDITION)
    rows = min(len(one) for one, _ in arrays.values())
    agreed = np.ones(rows, dtype=bool)
    for one, two in arrays.values():
        agreed &= _agreement(one[:rows], two[:rows])
    return Comparison(model, Code.OK, rows, int(agreed.sum()))


def _agreement(one: NDArray[Any], two: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each row agrees, [rows]."""
    if one.dtype.kind == "f" and one.ndim == 2 and one.shape[1] > 1:
        equal = np.equal(one.argmax(axis=1), two.argmax(axis=1))
    else:
        close = np.isclose(one, two, rtol=0.01) if one.dtype.kind == "f" else np.equal(one, two)
        equal = close.reshape(len(one), -1).all(axis=1)
    return np.asarray(equal, dtype=np.bool_)
