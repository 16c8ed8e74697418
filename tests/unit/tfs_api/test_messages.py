"""Our messages have the same fields and bytes as the official ones."""

import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfs_api.messages import (
    example_pb2,
    inference_pb2,
    model_management_pb2,
    model_server_config_pb2,
    model_status_pb2,
    prediction_log_pb2,
    prediction_pb2,
    signature_pb2,
    tensor_pb2,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own
    from tensorflow.core.example import example_pb2 as tf_example
    from tensorflow.core.example import feature_pb2 as tf_feature
    from tensorflow.core.framework import tensor_pb2 as tf_tensor
    from tensorflow.core.framework import tensor_shape_pb2, types_pb2
    from tensorflow.core.protobuf import meta_graph_pb2
    from tensorflow_serving.apis import (
        classification_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        input_pb2,
        model_pb2,
        predict_pb2,
        regression_pb2,
        status_pb2,
    )
    from tensorflow_serving.apis import inference_pb2 as tfs_inference
    from tensorflow_serving.apis import model_management_pb2 as tfs_management
    from tensorflow_serving.apis import prediction_log_pb2 as tfs_prediction_log
    from tensorflow_serving.config import (
        file_system_storage_path_source_pb2,
        log_collector_config_pb2,
        logging_config_pb2,
    )
    from tensorflow_serving.config import model_server_config_pb2 as tfs_config


def messages(*modules: Any) -> dict[str, Any]:
    """The message classes of modules by name, including nested ones."""
    found = {}
    waiting = [getattr(m, name) for m in modules for name in m.DESCRIPTOR.message_types_by_name]
    while waiting:
        message = waiting.pop()
        found[message.DESCRIPTOR.name] = message
        nested = message.DESCRIPTOR.nested_types
        waiting += [getattr(message, n.name) for n in nested if not n.GetOptions().map_entry]
    return found


OURS = messages(
    *(example_pb2, inference_pb2, model_management_pb2, model_server_config_pb2),
    *(model_status_pb2, prediction_log_pb2, prediction_pb2, signature_pb2, tensor_pb2),
)
OFFICIAL = messages(
    *(tf_example, tf_feature, tf_tensor, tensor_shape_pb2, meta_graph_pb2, classification_pb2),
    *(get_model_metadata_pb2, get_model_status_pb2, input_pb2, model_pb2, predict_pb2),
    *(regression_pb2, status_pb2, tfs_inference, tfs_management, tfs_prediction_log, tfs_config),
    *(file_system_storage_path_source_pb2, log_collector_config_pb2, logging_config_pb2),
)
PAIRS = [(ours, OFFICIAL[name]) for name, ours in sorted(OURS.items())]
ENUMS = [
    (tensor_pb2.DataType, types_pb2.DataType),
    (model_status_pb2.ModelVersionStatus.State, get_model_status_pb2.ModelVersionStatus.State),
    (model_server_config_pb2.ModelConfig.ModelType, tfs_config.ModelType),
]


def interchangeable(field: Any) -> Any:
    # On the wire, and in the text that we read, an enum is an int32 (StatusProto.code).
    if field.type == field.TYPE_ENUM:
        return field.TYPE_INT32
    return field.TYPE_BYTES if stays_bytes(field) else field.type


def stays_bytes(theirs: Any) -> bool:
    """Whether a message field is bytes in our messages: an Example in a request."""
    return theirs.message_type is not None and theirs.message_type.name == "Example"


@pytest.mark.parametrize(("ours", "official"), PAIRS, ids=lambda m: m.DESCRIPTOR.full_name)
def test_fields_agree(ours: Any, official: Any) -> None:
    for field in ours.DESCRIPTOR.fields:
        theirs = official.DESCRIPTOR.fields_by_number[field.number]
        assert field.name == theirs.name
        assert interchangeable(field) == interchangeable(theirs), field.name
        assert (field.is_repeated, field.is_packed) == (theirs.is_repeated, theirs.is_packed), (
            field.name
        )
        if field.containing_oneof:
            assert field.containing_oneof.name == theirs.containing_oneof.name


@pytest.mark.parametrize(("ours", "official"), ENUMS)
def test_enum_values_agree(ours: Any, official: Any) -> None:
    assert dict(ours.items()).items() <= dict(official.items()).items()


def values(ours: Any, theirs: Any) -> st.SearchStrategy[Any]:
    """Values of a field that is not a message."""
    if theirs.type == theirs.TYPE_ENUM:
        known = (ours.enum_type or theirs.enum_type).values
        return st.sampled_from([value.number for value in known])
    bits = {theirs.TYPE_INT32: 32, theirs.TYPE_INT64: 64}
    if theirs.type in bits:
        half = 2 ** (bits[theirs.type] - 1)
        return st.integers(-half, half - 1)
    return {
        theirs.TYPE_STRING: st.text(max_size=5),
        theirs.TYPE_BYTES: st.binary(max_size=5),
        theirs.TYPE_BOOL: st.booleans(),
        theirs.TYPE_UINT32: st.integers(0, 2**32 - 1),
        theirs.TYPE_UINT64: st.integers(0, 2**64 - 1),
        theirs.TYPE_FLOAT: st.floats(width=32, allow_nan=False),
        theirs.TYPE_DOUBLE: st.floats(allow_nan=False),
    }[theirs.type]


def fill(data: st.DataObject, message: Any, ours: Any) -> Any:
    """Fill the fields of an official message that our message also has."""
    for field in ours.fields:
        theirs = message.DESCRIPTOR.fields_by_number[field.number]
        oneof = theirs.containing_oneof
        if (oneof and message.WhichOneof(oneof.name)) or not data.draw(st.booleans()):
            continue
        target = getattr(message, field.name)
        if theirs.message_type and theirs.message_type.GetOptions().map_entry:
            fill_map(data, target, field.message_type, theirs.message_type)
        elif theirs.message_type:
            schema = example_pb2.Example.DESCRIPTOR if stays_bytes(theirs) else field.message_type
            if theirs.is_repeated:
                for _ in range(data.draw(st.integers(0, 2))):
                    fill(data, target.add(), schema)
            else:
                fill(data, target, schema)
                # An empty message that we keep as bytes is omitted, which means the same.
                if target.ByteSize() or not stays_bytes(theirs):
                    target.SetInParent()
        elif theirs.is_repeated:
            target.extend(data.draw(st.lists(values(field, theirs), max_size=3)))
        else:
            setattr(message, field.name, data.draw(values(field, theirs)))
    return message


def fill_map(data: st.DataObject, target: Any, ours: Any, theirs: Any) -> None:
    key, value = (theirs.fields_by_name[name] for name in ("key", "value"))
    for each in data.draw(st.sets(values(key, key), max_size=2)):
        if value.message_type:
            fill(data, target[each], ours.fields_by_name["value"].message_type)
        else:
            target[each] = data.draw(values(value, value))


@pytest.mark.parametrize(("ours", "official"), PAIRS, ids=lambda m: m.DESCRIPTOR.full_name)
@settings(max_examples=25)
@given(data=st.data())
def test_bytes_agree(ours: Any, official: Any, data: st.DataObject) -> None:
    theirs = fill(data, official(), ours.DESCRIPTOR).SerializeToString(deterministic=True)
    parsed = ours.FromString(theirs)
    parsed.DiscardUnknownFields()  # no field may be unknown to our message
    assert parsed.SerializeToString(deterministic=True) == theirs
