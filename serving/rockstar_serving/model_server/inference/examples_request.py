"""Requests with tf.Examples, as messages, to queries."""

from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from rockstar_serving.model_server.inference.examples import ExamplesQuery
from rockstar_serving.model_server.inference.multi_inference import MultiInferenceQuery, Task
from tfs_api.messages.inference_pb2 import (
    ClassificationRequest,
    Input,
    MultiInferenceRequest,
    RegressionRequest,
)


def examples_query(
    request: ClassificationRequest | RegressionRequest, deadline: Deadline = NO_DEADLINE
) -> ExamplesQuery:
    """What a classify or regress request asks of a model."""
    return ExamplesQuery(examples_of(request.input), request.model_spec.signature_name, deadline)


def multi_inference_query(
    request: MultiInferenceRequest, deadline: Deadline = NO_DEADLINE
) -> MultiInferenceQuery:
    """What a request for several signatures asks of a model."""
    tasks = [
        Task(task.model_spec.name, task.method_name, task.model_spec.signature_name)
        for task in request.tasks
    ]
    return MultiInferenceQuery(tasks, examples_of(request.input), deadline)


def examples_of(message: Input) -> list[bytes]:
    """The serialized tf.Examples of a request, with the features of its context where it has one.

    A feature that an example has itself wins over the context's: that is what reading one message
    right after the other comes to, and so does TensorFlow Serving.
    """
    if message.WhichOneof("kind") == "example_list_with_context":
        listed = message.example_list_with_context
        return [listed.context + example for example in listed.examples]
    return list(message.example_list.examples)
