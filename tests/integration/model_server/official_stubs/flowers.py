"""Official requests with tf.Examples for the model `flowers`.

Its scores of the features x are [s, -s] with s = x[0] + 2 x[1].
"""

from functools import partial
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, regression_pb2

from tests.integration.model_server.official_stubs.calls import spec_of
from tests.saved_models import SPECIES

FLOWERS = [(1.0, 2.0), (3.0, -1.0), (0.0, 0.0)]
SCORES = [5.0, 1.0, 0.0]
SETOSA, VIRGINICA = (name.decode() for name in SPECIES)


def tf_example(**features: tuple[float, ...]) -> Any:
    example = tf.train.Example()
    for name, values in features.items():
        example.features.feature[name].float_list.value.extend(values)
    return example


def fill(input_: Any, *examples: Any, context: Any = None) -> None:
    """Put examples into the input of a request."""
    if context is None:
        input_.example_list.examples.extend(examples)
    else:
        input_.example_list_with_context.examples.extend(examples)
        input_.example_list_with_context.context.CopyFrom(context)


FLOWER_EXAMPLES = [tf_example(x=flower) for flower in FLOWERS]


def examples_request(
    make: Any,
    signature: str,
    examples: Any = FLOWER_EXAMPLES,
    *,
    name: str = "flowers",
    version: int | None = None,
    label: str | None = None,
    context: Any = None,
) -> Any:
    request = spec_of(make(), name, version, label)
    request.model_spec.signature_name = signature
    fill(request.input, *examples, context=context)
    return request


classify_request = partial(examples_request, classification_pb2.ClassificationRequest)
regress_request = partial(examples_request, regression_pb2.RegressionRequest)


def pairs(result: Any) -> list[list[tuple[str, float]]]:
    """Labels and scores of a ClassificationResult."""
    return [
        [(each.label, each.score) for each in classifications.classes]
        for classifications in result.classifications
    ]
