"""The protocol's documents: field names are the protocol's."""

from typing import Any

import msgspec

Parameters = dict[str, Any]


class InputTensor(msgspec.Struct):
    """An input; `data` is flat or nested, or absent where the bytes follow the JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = {}
    data: Any = msgspec.UNSET


class WantedOutput(msgspec.Struct):
    """An output to send back."""

    name: str
    parameters: Parameters = {}


class InferRequest(msgspec.Struct):
    """What is asked of a model."""

    inputs: list[InputTensor]
    outputs: list[WantedOutput] = []
    parameters: Parameters = {}
    id: str = ""


class OutputTensor(msgspec.Struct, omit_defaults=True):
    """An output, its values flat in row-major order."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters = {}
    data: list[Any] | msgspec.UnsetType = msgspec.UNSET


class InferResponse(msgspec.Struct, omit_defaults=True):
    """What a model answered."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str = ""
