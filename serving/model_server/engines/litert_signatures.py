"""What a LiteRT model tells of its signatures."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.api.signature import DEFAULT_SIGNATURE, Signature, TensorSpec
from serving.api.tensors import wire_type

_Details = Mapping[str, Mapping[str, Any]]


def describe(content: bytes, runners: Mapping[str, Any]) -> dict[str, Signature]:
    """The signatures of a model.

    Args:
        content: of model.tflite.
        runners: of an interpreter, by signature.

    Raises:
        ValueError: a tensor's dtype cannot travel; and what LiteRT raises.
    """
    sides: dict[str, tuple[_Details, _Details]] = {
        name: (runner.get_input_details(), runner.get_output_details())
        for name, runner in runners.items()
    }
    flat = any(
        not len(detail["shape"])
        for both in sides.values()
        for side in both
        for detail in side.values()
    )
    unranked = _unranked(content) if flat else {}
    return {
        name: Signature(
            _specs(inputs, unranked.get(name, frozenset())),
            _specs(outputs, unranked.get(name, frozenset())),
        )
        for name, (inputs, outputs) in sides.items()
    }


def _specs(details: _Details, unranked: frozenset[int]) -> dict[str, TensorSpec]:
    return {name: _spec(detail, unranked) for name, detail in details.items()}


def _spec(detail: Mapping[str, Any], unranked: frozenset[int]) -> TensorSpec:
    dtype = np.dtype(detail["dtype"])
    if dtype.kind in "SU":
        dtype = np.dtype(object)
    wire_type(dtype)  # a dtype that cannot travel is found at load, not at the first request
    shape = detail["shape_signature"]
    if not len(shape):
        shape = detail["shape"]
    if not len(shape) and detail["index"] in unranked:
        return TensorSpec(detail["name"], dtype, None)
    return TensorSpec(detail["name"], dtype, tuple(int(size) for size in shape))


def _unranked(content: bytes) -> dict[str, frozenset[int]]:
    """Tensors of any rank, by signature; the interpreter tells the same of them as of scalars."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    definitions = [model.SignatureDefs(number) for number in range(model.SignatureDefsLength())]
    graphs = {each.SignatureKey().decode(): each.SubgraphIndex() for each in definitions}
    unranked = {}
    for name, number in (graphs or {DEFAULT_SIGNATURE: 0}).items():
        graph = model.Subgraphs(number)
        tensors = range(graph.TensorsLength())
        unranked[name] = frozenset(i for i in tensors if not graph.Tensors(i).HasRank())
    return unranked
