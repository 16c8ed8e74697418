"""The gRPC client: examples straight to any TensorFlow Serving, prepared and labelled here."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.answer import Answer
from clients.connection import Connection
from clients.examples import ExampleLike, read_examples
from clients.predictor import Predictor
from clients.tfserving import DEFAULT_TIMEOUT_S, TFServingClient
from serving.contract import Input
from serving.inputs import prepare
from serving.labels import predictions, values


class GrpcClient(Connection):
    """Predicts with models that carry a contract; thread-safe, and a context manager."""

    def __init__(self, address: str = "127.0.0.1:8500") -> None:
        """Connect when first used.

        Args:
            address: "host:port" of the server's gRPC API.
        """
        self._server = TFServingClient(address)
        self._predictor = Predictor(self._server)

    def predict(
        self,
        model: str,
        inputs: ExampleLike | Iterable[ExampleLike],
        *,
        version: int | None = None,
        top: int = 3,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> Answer:
        """Predict one or several inputs.

        Args:
            model: name.
            inputs: image files (paths or bytes), rows (dicts, or the path of a CSV file), or arrays
                that are the model's input.
            version: None is the newest.
            top: how many labels to list for each.
            timeout: seconds for everything together.

        Raises:
            CallError: the call failed.
            InvalidInputError: an input cannot be used.
        """
        examples = read_examples(inputs)

        def batch(spec: Input) -> NDArray[Any]:
            return np.stack(
                [
                    prepare(example, spec, field=f"inputs[{index}]")
                    for index, example in enumerate(examples)
                ]
            )

        answer = self._predictor.predict(model, batch, version=version, timeout=timeout)
        contract = answer.contract
        if contract.task == "regression":
            return Answer(model, contract.version, values=tuple(values(answer.outputs)))
        named = predictions(answer.outputs, contract.labels, top)
        return Answer(model, contract.version, tuple(named))

    def close(self) -> None:
        """Close the connection."""
        self._server.close()
