"""The operations of the server, independent of the protocol; and Predict, which runs a signature.

Predict checks only the names of inputs and outputs, like TensorFlow Serving (`predict_util.cc`):
the engine checks dtypes, and the model decides which shapes it accepts.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from rockstar_serving.model_server.engines.engine import (
    Arrays,
    Engine,
    MeasuredEngine,
    Outputs,
    SignatureNotFoundError,
)
from rockstar_serving.model_server.examples import (
    Classification,
    ExamplesQuery,
    MultiInferenceQuery,
    Regression,
    Result,
    classify,
    multi_inference,
    regress,
)
from rockstar_serving.model_server.models.config import ModelConfig
from rockstar_serving.model_server.models.manager import Manager
from rockstar_serving.model_server.models.servables import VersionStatus
from rockstar_serving.model_server.options import InferenceOptions
from tfs_api.messages.prediction_pb2 import PredictRequest
from tfs_api.model_ref import ModelRef
from tfs_api.signature import (
    CLASSIFY_METHOD,
    DEFAULT_SIGNATURE,
    PREDICT_METHOD,
    REGRESS_METHOD,
    Signature,
)
from tfs_api.status import Code, StatusError, invalid
from tfs_api.tensors import to_array

if TYPE_CHECKING:
    from rockstar_serving.model_server.monitoring import Monitoring

_METHODS = (PREDICT_METHOD, CLASSIFY_METHOD, REGRESS_METHOD)


class PredictQuery(msgspec.Struct, frozen=True):
    """A predict request, independent of the protocol.

    Attributes:
        read: makes the feeds for the signature of the version that will run.
        signature_name: "" for serving_default.
        output_filter: names of the outputs to return; empty: all.
        deadline: until when the caller waits.
    """

    read: Callable[[Signature], Arrays]
    signature_name: str = ""
    output_filter: Sequence[str] = ()
    deadline: Deadline = NO_DEADLINE


_Result = TypeVar("_Result")


class Prediction(msgspec.Struct, frozen=True):
    """The outputs of a signature, by name, and the name of the signature."""

    outputs: Outputs
    signature_name: str


class Core:
    """Runs requests on the models of a manager; an observer receives runs and numbers of examples.

    All methods raise StatusError: NOT_FOUND (no such model or version), INVALID_ARGUMENT (no such
    label), or an error of the function that they call.
    """

    def __init__(
        self,
        manager: Manager,
        options: InferenceOptions = InferenceOptions(),  # noqa: B008 (frozen)
        observer: "Monitoring | None" = None,
    ) -> None:
        self._manager, self._observer = manager, observer
        self._check_methods = options.check_methods

    def predict(self, ref: ModelRef, query: PredictQuery) -> tuple[int, Prediction]:
        """Run a signature of a model; returns the version that ran, and its prediction."""
        return self._run(ref, query, "Predict", predict)

    def classify(self, ref: ModelRef, query: ExamplesQuery) -> tuple[int, Classification]:
        """Classify tf.Examples; returns the version that ran, and its classification."""
        return self._run(ref, query, "Classify", classify)

    def regress(self, ref: ModelRef, query: ExamplesQuery) -> tuple[int, Regression]:
        """Run regression on tf.Examples; returns the version that ran, and its regression."""
        return self._run(ref, query, "Regress", regress)

    def multi_inference(
        self, ref: ModelRef, query: MultiInferenceQuery
    ) -> tuple[int, list[Result]]:
        """Run signatures on tf.Examples; returns the version, and the result of each task."""
        # As in TensorFlow Serving, its examples are counted, and its runs are not.
        results = self._run(ref, query, "", multi_inference)
        if self._observer is not None:
            self._observer.examples(ref.name, len(query.examples))
        return results

    def models(self) -> list[str]:
        """The names of all configured models."""
        return [config.name for config in self._manager.configs]

    def status(self, ref: ModelRef) -> list[VersionStatus]:
        """The states of the versions of a model, the highest first."""
        return self._manager.statuses(ref)

    def reload(self, configs: Sequence[ModelConfig], deadline: Deadline = NO_DEADLINE) -> None:
        """Replace the served models; see Manager.reload()."""
        self._manager.reload(configs, deadline, wait=True)

    def metadata(self, ref: ModelRef) -> tuple[int, Mapping[str, Signature]]:
        """The version that a request would use, and its signatures by name."""
        with self._manager.servable(ref) as servable:
            return servable.id.version, servable.engine.signatures

    def _run(
        self, ref: ModelRef, query: Any, api: str, run: Callable[..., _Result]
    ) -> tuple[int, _Result]:
        """Run a query on a version; an observer receives the runs of its engine for an API."""
        with self._manager.servable(ref) as servable:
            engine, model, observer = servable.engine, servable.id.model, self._observer
            if observer is not None and api:
                engine = MeasuredEngine(
                    engine, lambda seconds, *_: observer.run(model, api, seconds)
                )
            return servable.id.version, run(engine, query, check_method=self._check_methods)


def predict_query(request: PredictRequest, deadline: Deadline = NO_DEADLINE) -> PredictQuery:
    """Make a query from a message; its tensors are read when the query is run."""

    def read(_: Signature) -> Arrays:
        feeds, inputs = {}, request.inputs
        for name in inputs:  # items() of a protobuf map takes three times as long
            try:
                feeds[name] = to_array(inputs[name])
            except ValueError as error:
                raise invalid(f"tensor parsing error: {name}: {error}") from error
        return feeds

    # Copying an empty field of a message takes longer than checking it.
    output_filter = list(request.output_filter) if request.output_filter else ()
    return PredictQuery(read, request.model_spec.signature_name, output_filter, deadline)


def predict(engine: Engine, query: PredictQuery, *, check_method: bool = False) -> Prediction:
    """Run a signature of a loaded version; check_method: only one with a method of TF Serving.

    Raises:
        StatusError: FAILED_PRECONDITION (no such signature), INTERNAL (its method is unknown),
            INVALID_ARGUMENT (the signature lacks an input or output), or any error of the engine.
    """
    name = query.signature_name or DEFAULT_SIGNATURE
    signature = engine.signatures.get(name)
    if signature is None:
        raise SignatureNotFoundError(name)
    if check_method and signature.method_name not in _METHODS:
        raise StatusError(
            Code.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{', '.join(_METHODS)}}}. "
            f"Was: {signature.method_name}",
        )
    try:
        feeds = query.read(signature)
        if feeds.keys() != signature.inputs.keys():
            check_inputs(feeds, signature)
        if query.output_filter:
            check_fetches(query.output_filter, signature)
    except StatusError:
        if (prediction := _predict_by_other_names(engine, query, name, signature)) is None:
            raise
        return prediction
    if signature.defaults:
        feeds = {**signature.defaults, **feeds}
    fetches = list(query.output_filter or signature.outputs)
    return Prediction(engine.run(name, feeds, fetches, query.deadline), name)


def check_inputs(feeds: Mapping[str, Any], signature: Signature) -> None:
    """Check that all inputs without defaults are fed; messages of TensorFlow Serving."""
    sent, wanted, optional = set(feeds), set(signature.inputs), set(signature.defaults)
    if len(sent) > len(wanted) or (len(sent) < len(wanted) and not optional):
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)} "
            f"len({_set(sent)}) != len({_set(wanted)}). Sent extra: {_set(sent - wanted)}. "
            f"Missing but required: {_set(wanted - sent)}."
        )
    for name in sorted(wanted - sent - optional):
        raise invalid(
            f"Signature input alias: {name}(feed name: {signature.inputs[name].tensor}) not found "
            "in request and no default value provided. Inputs expected to be in the request "
            f"{_set(sent)}, or default input alias set: {','.join(sorted(optional))}"
        )
    if sent - wanted:
        raise invalid(
            "Inputs contains invalid name. Used request inputs: "
            f"{','.join(sorted(sent & wanted))}, request input: {','.join(sorted(sent))}"
        )


def check_fetches(output_filter: Sequence[str], signature: Signature) -> None:
    """Check that a filter names existing outputs, each once."""
    for name in output_filter:
        if name not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {name} "
                f"Outputs expected to be in the set {_set(signature.outputs)}."
            )
        if output_filter.count(name) > 1:
            raise invalid(f"duplicate output tensor alias: {name}")


def _predict_by_other_names(
    engine: Engine, query: PredictQuery, name: str, signature: Signature
) -> Prediction | None:
    """Predict for a request that uses other known names; None if the names are unknown."""
    inputs = {spec.tensor: name for name, spec in signature.inputs.items()}
    outputs = {spec.tensor: name for name, spec in signature.outputs.items()}
    for other in signature.other_names:
        try:
            feeds = query.read(other)
            check_inputs(feeds, other)
            check_fetches(query.output_filter, other)
        except StatusError:
            continue
        own_feeds = {inputs[other.inputs[each].tensor]: feed for each, feed in feeds.items()}
        fetches = {
            each: outputs[other.outputs[each].tensor]
            for each in query.output_filter or other.outputs
        }
        arrays = engine.run(name, own_feeds, list(fetches.values()), query.deadline)
        return Prediction({each: arrays[own] for each, own in fetches.items()}, name)
    return None


def _set(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
