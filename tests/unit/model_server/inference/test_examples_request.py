"""Requests with tf.Examples, whatever is asked of them."""

import warnings

from hypothesis import given, settings
from hypothesis import strategies as st

from rockstar_serving.model_server.inference.examples_request import examples_of
from tests.examples_engine import example
from tfs_api.messages.inference_pb2 import ExampleList, ExampleListWithContext, Input

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own
    import tensorflow as tf

FEATURES = st.dictionaries(
    st.sampled_from("abcd"), st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=3)
)


def parsed(serialized: bytes) -> dict[str, list[float]]:
    features = tf.train.Example.FromString(serialized).features.feature
    return {name: list(feature.float_list.value) for name, feature in features.items()}


def test_nothing_sent() -> None:
    assert examples_of(Input()) == []
    assert examples_of(Input(example_list=ExampleList())) == []
    context = ExampleListWithContext(context=example(x=1.0))
    assert examples_of(Input(example_list_with_context=context)) == []


def test_examples_stay_the_bytes_that_were_sent() -> None:
    sent = [example(x=1.0), b"", b"not an example"]
    assert examples_of(Input(example_list=ExampleList(examples=sent))) == sent


@settings(max_examples=50, deadline=None)
@given(context=FEATURES, features=FEATURES)
def test_every_example_has_the_context_but_its_own_features_win(
    context: dict[str, list[float]], features: dict[str, list[float]]
) -> None:
    listed = ExampleListWithContext(
        examples=[example(**features), example()], context=example(**context)
    )
    first, second = examples_of(Input(example_list_with_context=listed))
    assert parsed(first) == {**context, **features}
    assert parsed(second) == context
