"""tf.Examples from JSON, as TensorFlow Serving's REST API reads them (`json_tensor.cc`).

A body of :classify or :regress holds `examples`, one object of features for each, and perhaps
`context`, an object of features that all of them have. A feature is a value or a flat list of
values of one kind:

    JSON                              kind
    1, true                           int64
    1.0, 1e0, NaN                     float
    "text", {"b64": "<base64>"}       bytes
"""

from dataclasses import dataclass
from typing import Any

from tfs_api.json_document import invalid, is_base64, parse, show, to_bytes, type_name
from tfs_api.messages.example_pb2 import Example, Feature
from tfs_api.messages.inference_pb2 import ExampleList, ExampleListWithContext, Input
from tfs_api.status import StatusError

_INT64_MAX = 2**63 - 1


@dataclass(frozen=True)
class ExamplesRequest:
    """The body of a classify or regress request.

    Attributes:
        signature_name: "" if none is given.
        input: what a gRPC request would hold.
    """

    signature_name: str
    input: Input


def parse_request(body: bytes | memoryview) -> ExamplesRequest:
    """Read the body of a classify or regress request.

    Raises:
        StatusError: INVALID_ARGUMENT, not JSON, without a list of examples, or with a value that is
            not a feature.
    """
    document = parse(body)
    if not isinstance(document, dict):
        raise _malformed(document, "Is not object")
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise _malformed(
            document, "not formatted correctly. 'signature_name' key must be a string value."
        )
    try:
        name.encode()
    except UnicodeEncodeError as error:
        # gRPC cannot ask for it.
        text = f"Serving signature name: {show(name)} not found in signature def"
        raise invalid(text) from error
    context = _example(document["context"]) if "context" in document else None
    if "examples" not in document:
        # TensorFlow Serving says classify for regress, too.
        raise _malformed(
            document, "When method is classify, key 'examples' is expected and was not found"
        )
    listed = document["examples"]
    if not isinstance(listed, list):
        raise _malformed(document, "Expecting 'examples' value to be an list/array")
    if not listed:
        raise _malformed(document, "'examples' value is an empty array")
    examples = [_example(value) for value in listed]
    if context is None:
        return ExamplesRequest(name, Input(example_list=ExampleList(examples=examples)))
    with_context = ExampleListWithContext(examples=examples, context=context)
    return ExamplesRequest(name, Input(example_list_with_context=with_context))


def _example(value: Any) -> bytes:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {type_name(value)}")
    example = Example()
    for name, content in value.items():
        try:
            feature = example.features.feature[name]
        except ValueError as error:
            raise invalid(f"Feature: {show(name)} has a name that is no UTF-8 text") from error
        _fill(feature, name, content if isinstance(content, list) else [content])
    return example.SerializeToString()


def _fill(feature: Feature, name: str, values: list[Any]) -> None:
    if set(map(type, values)) == {float}:  # as a whole, because such a list may be an image
        feature.float_list.value.extend(values)
        return
    for value in values:
        kind = _kind(name, value)
        if feature.WhichOneof("kind") not in (None, kind):
            was = str(feature.WhichOneof("kind")).removesuffix("_list")
            raise invalid(f"Unexpected element type in feature: {name} expecting type: {was}")
        if kind == "bytes_list":
            feature.bytes_list.value.append(to_bytes(value))
        elif kind == "float_list":
            feature.float_list.value.append(value)
        elif value > _INT64_MAX:
            raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        else:
            feature.int64_list.value.append(int(value))


def _kind(name: str, value: Any) -> str:
    """The field of Feature that takes a value."""
    if isinstance(value, int):  # or bool
        return "int64_list"
    if isinstance(value, float):
        return "float_list"
    if isinstance(value, str) or is_base64(value):
        return "bytes_list"
    raise invalid(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")


def _malformed(value: Any, what: str) -> StatusError:
    return invalid(f"JSON Value: {show(value)} {what}")
