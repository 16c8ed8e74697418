"""A SavedModel in a session of TensorFlow, as TensorFlow Serving loads and runs it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from rockstar_serving.model_server.deadline import Deadline
from rockstar_serving.model_server.engines.tensorflow_loader import load_saved_model
from rockstar_serving.model_server.engines.tensorflow_ops import run_error
from rockstar_serving.model_server.options import EngineOptions
from tfs_api.messages.signature_pb2 import SignatureDef
from tfs_api.status import Code, StatusError

# A tensor of the graph as the session takes it.
GraphTensor = Any


class TensorFlowSession:
    """A loaded SavedModel; safe to run from several threads.

    Attributes:
        signatures: of the SavedModel, by name.
        convolving: names of the signatures that run convolutions.
    """

    def __init__(self, folder: Path, options: EngineOptions) -> None:
        """Load a SavedModel: graph, variables, tables, assets and what initializes them.

        Raises:
            LoadError: it cannot be loaded.
        """
        loaded = load_saved_model(folder, options)
        self._graph, self._session = loaded.graph, loaded.session
        self.signatures: Mapping[str, SignatureDef] = {
            name: SignatureDef.FromString(definition.SerializeToString())
            for name, definition in loaded.signatures.items()
        }
        self.convolving = _convolving(loaded.graph_def, self.signatures)

    def tensor(self, name: str) -> GraphTensor:
        """A tensor of the graph; ValueError or KeyError where it has none of the name."""
        return self._graph.get_tensor_by_name(name)._as_tf_output()

    def run(
        self,
        feeds: Mapping[GraphTensor, NDArray[Any]],
        fetches: Sequence[GraphTensor],
        deadline: Deadline,
    ) -> list[Any]:
        """Run the part of the graph that the fetches need.

        Session.run does the same, but takes 0.2 ms more for what is settled here beforehand.

        Returns:
            A value for each fetch: an array, or of one without dimensions a NumPy scalar or bytes.

        Raises:
            StatusError: of the operation that failed, or DEADLINE_EXCEEDED.
        """
        from tensorflow.errors import OpError
        from tensorflow.python.client import pywrap_tf_session as native

        limit = _run_options(deadline)
        buffer = native.TF_NewBufferFromString(limit) if limit else None
        try:
            values: list[Any] = native.TF_SessionRun_wrapper(
                self._session._session, buffer, feeds, fetches, [], None
            )
        except OpError as error:
            raise StatusError(Code(error.error_code), run_error(error.message)) from error
        except UnicodeDecodeError as error:
            # A message that quotes bytes of the request, such as those that are no tf.Example.
            message = error.object.decode("utf-8", "backslashreplace")
            raise StatusError(Code.INVALID_ARGUMENT, message) from error
        finally:
            if buffer is not None:
                native.TF_DeleteBuffer(buffer)
        return values

    def close(self) -> None:
        """Free the graph and all that it holds."""
        self._session.close()
        self._session = self._graph = None


def _convolving(graph: Any, signatures: Mapping[str, SignatureDef]) -> frozenset[str]:
    """The signatures whose outputs need a convolution, in the graph or in functions it calls."""
    functions: set[str] = set()

    def convolves(node: Any) -> bool:
        if "Conv" in node.op:
            return True
        calls = [
            call
            for attr in node.attr.values()
            for call in (attr.func, *attr.list.func)
            if call.name
        ]
        return any(call.name in functions for call in calls)

    bodies = {each.signature.name: each.node_def for each in graph.library.function}
    while found := {n for n, nodes in bodies.items() if any(map(convolves, nodes))} - functions:
        functions |= found
    nodes = {node.name: node for node in graph.node}
    if not functions and not any(map(convolves, graph.node)):
        return frozenset()

    def needs_one(signature: SignatureDef) -> bool:
        waiting, seen = [info.name for info in signature.outputs.values()], set()
        while waiting:
            name = waiting.pop().lstrip("^").partition(":")[0]
            if name in nodes and name not in seen:
                seen.add(name)
                if convolves(nodes[name]):
                    return True
                waiting += nodes[name].input
        return False

    return frozenset(name for name, each in signatures.items() if needs_one(each))


def _run_options(deadline: Deadline) -> bytes | None:
    """A message for the session; none without a deadline."""
    seconds = deadline.remaining()
    if seconds is None:
        return None
    from tensorflow.core.protobuf.config_pb2 import RunOptions

    # 0 would be no limit.
    limit: bytes = RunOptions(timeout_in_ms=max(1, math.ceil(seconds * 1000))).SerializeToString()
    return limit
