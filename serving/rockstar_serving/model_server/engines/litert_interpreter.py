"""One interpreter of LiteRT."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_serving.model_server.engines.litert_examples import cut_parse_example
from rockstar_serving.model_server.engines.litert_signatures import MainGraphSignature
from rockstar_serving.model_server.engines.native_log import without_info
from tfs_api.signature import dtype_name, shape_text
from tfs_api.status import Code, StatusError

Feeds = Mapping[str, NDArray[Any]]
# Of the inputs of a signature, in their order there.
Shapes = tuple[tuple[int, ...], ...]


class LiteRTInterpreter:
    """An interpreter with a runner for each signature; for one thread at a time.

    Attributes:
        runners: by name of the signature.
        shapes: on which each signature ran last; running it on the same again is cheapest.
    """

    def __init__(
        self, content: bytes, threads: int, main_graph: Mapping[str, MainGraphSignature]
    ) -> None:
        """Make an interpreter; raises what LiteRT raises.

        Args:
            content: of a model.tflite.
            threads: that it uses.
            main_graph: signatures that LiteRT does not find itself.
        """
        from ai_edge_litert.interpreter import Interpreter

        cut = cut_parse_example(content)

        def make() -> Any:
            with without_info():
                interpreter = Interpreter(
                    model_content=cut.content if cut else content, num_threads=threads
                )
                interpreter.allocate_tensors()  # fails now, not at a request, on an unknown op
            return interpreter

        interpreter = make()
        self.runners: dict[str, Any] = {}
        for name in interpreter.get_signature_list():
            runner = interpreter.get_signature_runner(name)
            self.runners[name] = cut.runner(runner, cut.graphs[name]) if cut else runner
        if main_graph and self.runners:
            # An interpreter does not allocate tensors itself any more once it has such runners.
            interpreter = make()
        for name, signature in main_graph.items():
            more = cut.main_graph_inputs() if cut else {}
            runner = _MainGraphRunner(interpreter, {**signature.inputs, **more}, signature.outputs)
            self.runners[name] = cut.runner(runner, 0) if cut else runner
        self.shapes: dict[str, Shapes] = {}

    def run(self, signature: str, feeds: Feeds, shapes: Shapes) -> dict[str, NDArray[Any]]:
        """Run a signature.

        Returns:
            All outputs, copied.

        Raises:
            StatusError: INVALID_ARGUMENT; use the interpreter no more.
        """
        try:
            # LiteRT itself skips the resizing where shapes stay the same.
            outputs: dict[str, NDArray[Any]] = self.runners[signature](
                **{name: _readable(feed) for name, feed in feeds.items()}
            )
        except (RuntimeError, ValueError) as error:
            raise _failure(signature, feeds, error) from error
        self.shapes[signature] = shapes
        return outputs


class _MainGraphRunner:
    """A signature of the main graph, with the interface of LiteRT's own signature runners."""

    def __init__(
        self, interpreter: Any, inputs: Mapping[str, int], outputs: Mapping[str, int]
    ) -> None:
        self._interpreter = interpreter
        self._inputs = inputs
        self._outputs = outputs

    def get_input_details(self) -> dict[str, Any]:
        details = {detail["index"]: detail for detail in self._interpreter.get_input_details()}
        return {name: details[index] for name, index in self._inputs.items()}

    def get_output_details(self) -> dict[str, Any]:
        details = {detail["index"]: detail for detail in self._interpreter.get_output_details()}
        return {name: details[index] for name, index in self._outputs.items()}

    def __call__(self, **feeds: NDArray[Any]) -> dict[str, NDArray[Any]]:
        for name, feed in feeds.items():
            self._interpreter.resize_tensor_input(self._inputs[name], feed.shape)
        self._interpreter.allocate_tensors()
        for name, feed in feeds.items():
            self._interpreter.set_tensor(self._inputs[name], feed)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}


def _failure(signature: str, feeds: Feeds, error: Exception) -> StatusError:
    given = ", ".join(
        f"{name}: {dtype_name(feed.dtype)} of shape {shape_text(feed.shape)}"
        for name, feed in feeds.items()
    )
    # LiteRT strings its sentences together without a sign between them.
    text = str(error).replace("Node number", "; node number")
    return StatusError(
        Code.INVALID_ARGUMENT,
        f'LiteRT cannot run the signature "{signature}" on these inputs ({given}): {text}',
    )


def _readable(feed: NDArray[Any]) -> NDArray[Any]:
    """What LiteRT can read: of a string without dimensions it would take the address for it."""
    if feed.dtype == object and not feed.ndim:
        return np.ndarray((), f"S{len(feed[()])}", feed[()])
    return feed
