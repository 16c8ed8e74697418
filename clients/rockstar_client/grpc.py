"""The gRPC client: examples straight to any TensorFlow Serving, prepared and labelled here."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TypeVar

from rockstar_client.answer import Answer
from rockstar_client.channel import ChannelOptions
from rockstar_client.connection import Connection
from rockstar_client.deadline import DEFAULT_TIMEOUT_S, Deadline
from rockstar_client.endpoint import Tls, fixed_headers
from rockstar_client.examples import Inputs
from rockstar_client.model_api import ModelApi, Steps
from rockstar_client.model_info import ModelInfo, ModelMetadata
from rockstar_client.retry import DEFAULT_RETRY, RetryPolicy
from rockstar_client.sans_io import run
from rockstar_client.tfserving import TFServingClient

Result = TypeVar("Result")


class GrpcClient(Connection):
    """Predicts with models that carry a contract; thread-safe, and a context manager.

    A process that is forked, or that gets a client by pickle, makes a connection of its own. Fork
    while no other thread is in a call: gRPC may otherwise hang in the child.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:8500",
        *,
        models: Sequence[str] = (),
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        tls: Tls | None = None,
        retry: RetryPolicy = DEFAULT_RETRY,
    ) -> None:
        """Connect when first used.

        Args:
            address: "host:port" of the server's gRPC API, "dns:///name:port", or "unix:/path"; all
                addresses of a name take turns.
            models: names, for `models` and `ready`: TensorFlow Serving cannot list its models.
            api_key: where a proxy before the server asks for one.
            headers: what every call says besides (gRPC metadata).
            tls: whom to trust, and who we are; None is plain text.
            retry: when a call that failed is made again.

        Raises:
            InvalidInputError: one of these makes no sense, or a file cannot be read.
        """
        said = tuple(fixed_headers(api_key, headers).items())
        options = ChannelOptions(retry, tls, proxy=True)
        self._server = TFServingClient(address, headers=partial(tuple, said), options=options)
        self._api = ModelApi(models)

    def predict(
        self,
        model: str,
        inputs: Inputs,
        *,
        version: int | None = None,
        label: str | None = None,
        top: int = 3,
        strict: bool = False,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> Answer:
        """Predict one or several inputs.

        Args:
            model: name.
            inputs: pictures (paths, bytes of files, PIL images), rows (dicts, a DataFrame, or the
                path of a CSV file), or arrays that are the model's input, one or a batch.
            version: None is the newest.
            label: picks the version instead.
            top: how many labels to list for each.
            strict: of rows, whether missing values, unknown categories and other columns are
                errors; else they are imputed or ignored, which the answer's `adjusted` says.
            timeout: seconds for everything together.

        Raises:
            CallError: the call failed; an InvalidRequestError where an input cannot be used.
        """
        deadline = Deadline(timeout)
        steps = self._api.predict(model, inputs, version, label, top, strict, deadline)
        return self._run(steps)

    def models(self, *, timeout: float = DEFAULT_TIMEOUT_S) -> tuple[ModelInfo, ...]:
        """The models that the client was told of; TensorFlow Serving cannot list its models.

        Raises:
            CallError: the call failed, or the client was told of none.
        """
        return self._run(self._api.models(Deadline(timeout)))

    def metadata(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> ModelMetadata:
        """The signatures of a version, and its contract if it carries one."""
        return self._run(self._api.metadata(model, version, label, Deadline(timeout)))

    def ready(self, *, timeout: float = DEFAULT_TIMEOUT_S) -> bool:
        """Whether every model that the client was told of answers; of none, whether the server."""
        return self._run(self._api.ready(Deadline(timeout)))

    def close(self) -> None:
        """Close the connection; calls now raise a RuntimeError."""
        self._server.close()

    def _run(self, steps: Steps[Result]) -> Result:
        return run(steps, lambda ask: ask(self._server))
