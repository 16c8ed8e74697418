"""The JSON of answers that hold no tensors."""

from google.protobuf import json_format

from serving.api.json_response import encode, encode_lines
from serving.api.signature import signature_def_map
from serving.model_server.inference.core import Metadata
from serving.model_server.models.servable import VersionStatus


def status_json(statuses: list[VersionStatus]) -> bytes:
    """What GetModelStatus answers."""
    versions = [
        {
            "version": str(status.version),
            "state": status.state.name,
            "status": {"error_code": status.code.name, "error_message": status.message},
        }
        for status in statuses
    ]
    return encode_lines({"model_version_status": versions}, indent=1) + b"\n"


def metadata_json(name: str, metadata: Metadata) -> bytes:
    """What GetModelMetadata answers of a model with this name."""
    signatures = json_format.MessageToDict(
        signature_def_map(metadata.signatures),
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    spec = {"name": name, "signature_name": "", "version": str(metadata.version)}
    # TensorFlow Serving puts this document together from the texts of its parts.
    spec_text = encode_lines(spec, indent=1)
    signatures_text = encode_lines(signatures, indent=1)
    return (
        b'{\n"model_spec":' + spec_text + b'\n,\n"metadata": {"signature_def": ' + signatures_text
    ) + b"\n}\n}\n"


def error_json(message: str) -> bytes:
    """What went wrong."""
    return b'{\n    "error": ' + encode(message) + b"\n}"
