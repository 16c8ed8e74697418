"""PredictRequest messages, as calls and warmup files bring them."""

from typing import Any

from numpy.typing import NDArray

from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from rockstar_serving.model_server.inference.predict import PredictQuery
from tfs_api.messages.prediction_pb2 import PredictRequest
from tfs_api.status import Code, StatusError
from tfs_api.tensors import to_array


def predict_query(request: PredictRequest, deadline: Deadline = NO_DEADLINE) -> PredictQuery:
    """What a message asks of a model; its tensors are read when the query is run."""
    return PredictQuery(
        lambda _: _feeds(request),
        request.model_spec.signature_name,
        list(request.output_filter),
        deadline,
    )


def _feeds(request: PredictRequest) -> dict[str, NDArray[Any]]:
    feeds = {}
    inputs = request.inputs
    for name in inputs:  # the items() of a protobuf map take three times as long
        try:
            feeds[name] = to_array(inputs[name])
        except ValueError as error:
            message = f"tensor parsing error: {name}: {error}"
            raise StatusError(Code.INVALID_ARGUMENT, message) from error
    return feeds
