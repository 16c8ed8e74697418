"""The JSON of the REST API's answers that hold no tensors."""

from collections.abc import Iterable
from typing import NamedTuple

from google.protobuf import json_format

from tfs_api.json_response import encode, encode_lines
from tfs_api.messages.prediction_pb2 import SignatureDefMap
from tfs_api.status import Code


class VersionState(NamedTuple):
    """The state of a version, by its name, and the error that ended it, if one did."""

    version: int
    state: str
    code: Code
    message: str


def status_json(versions: Iterable[VersionState]) -> bytes:
    """What GetModelStatus answers."""
    documents = [
        {
            "version": str(status.version),
            "state": status.state,
            "status": {"error_code": status.code.name, "error_message": status.message},
        }
        for status in versions
    ]
    return encode_lines({"model_version_status": documents}, indent=1) + b"\n"


def metadata_json(name: str, version: int, signatures: SignatureDefMap) -> bytes:
    """What GetModelMetadata answers of a version of a model with this name."""
    described = json_format.MessageToDict(
        signatures,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    spec = {"name": name, "signature_name": "", "version": str(version)}
    # TensorFlow Serving puts this document together from the texts of its parts.
    spec_text = encode_lines(spec, indent=1)
    signatures_text = encode_lines(described, indent=1)
    return (
        b'{\n"model_spec":' + spec_text + b'\n,\n"metadata": {"signature_def": ' + signatures_text
    ) + b"\n}\n}\n"


def error_json(message: str) -> bytes:
    """What went wrong."""
    return b'{\n    "error": ' + encode(message) + b"\n}"
