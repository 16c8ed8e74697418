"""What Classify, Regress and MultiInference found, as messages."""

from rockstar_serving.model_server.examples import Classification, Regression, Result
from tfs_api.messages import inference_pb2
from tfs_api.status import Code, StatusError


def classification_message(found: Classification) -> inference_pb2.ClassificationResult:
    """The classes of each example.

    Raises:
        StatusError: INVALID_ARGUMENT, a label is no text.
    """
    message = inference_pb2.ClassificationResult()
    for labels, scores in zip(found.labels, found.scores.tolist(), strict=True):
        classes = message.classifications.add().classes
        for label, score in zip(labels, scores, strict=True):
            try:
                classes.add(label=label, score=score)
            except UnicodeEncodeError as error:
                raise StatusError(
                    Code.INVALID_ARGUMENT, f"the model's label {label!r} is no UTF-8 text"
                ) from error
    return message


def regression_message(found: Regression) -> inference_pb2.RegressionResult:
    """The number of each example."""
    message = inference_pb2.RegressionResult()
    for value in found.values.tolist():
        message.regressions.add(value=value)
    return message


def result_message(found: Result) -> inference_pb2.InferenceResult:
    """The result of a task."""
    if isinstance(found, Classification):
        return inference_pb2.InferenceResult(classification_result=classification_message(found))
    return inference_pb2.InferenceResult(regression_result=regression_message(found))
