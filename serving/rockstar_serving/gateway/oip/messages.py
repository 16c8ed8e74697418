"""The protocol's documents: field names are the protocol's.

Optional members may be null: clients write their models as they are, with what was not set.
"""

from typing import Any

import msgspec

Parameters = dict[str, Any]


class InputTensor(msgspec.Struct):
    """An input; `data` is flat or nested, or absent where the bytes follow the JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters | None = None
    data: Any = None


class WantedOutput(msgspec.Struct):
    """An output to send back."""

    name: str
    parameters: Parameters | None = None


class InferRequest(msgspec.Struct):
    """What is asked of a model."""

    inputs: list[InputTensor]
    outputs: list[WantedOutput] | None = None
    parameters: Parameters | None = None
    id: str | None = None

    def parameter(self, name: str) -> Any:
        """A parameter of the request; None where it is absent or null."""
        return (self.parameters or {}).get(name)


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
