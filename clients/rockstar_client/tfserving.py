"""Tensors in, tensors out: a client for any server that speaks TensorFlow Serving's gRPC API."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import grpc
from numpy.typing import NDArray

from rockstar_client import tfserving_calls as calls
from rockstar_client.backend import Metadata, TensorResponse, VersionStatus
from rockstar_client.channel import DEFAULT_CHANNEL, ChannelOptions, connect
from rockstar_client.connection import Connection
from rockstar_client.deadline import DEFAULT_TIMEOUT_S
from rockstar_client.tfserving_calls import is_not_there
from rockstar_contract.contract import Contract
from tfs_api.messages.inference_pb2 import (
    ClassificationResponse,
    Input,
    RegressionResponse,
)
from tfs_api.signature import DEFAULT_SIGNATURE

__all__ = ["DEFAULT_TIMEOUT_S", "Headers", "TFServingClient", "is_not_there"]

Headers = tuple[tuple[str, str], ...]

Result = TypeVar("Result")


class TFServingClient(Connection):
    """A connection to a server; thread-safe, and a context manager.

    Every call raises a `rockstar_client.errors.CallError` when it fails.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
        headers: Callable[[], Headers] = tuple,
        options: ChannelOptions = DEFAULT_CHANNEL,
    ) -> None:
        """Connect when first used.

        Args:
            address: "host:port", "dns:///name:port", or "unix:/path" of a socket; all addresses of
                a name take turns.
            timeout: seconds that a call may take where it does not say itself.
            headers: gives what each call says in addition (gRPC metadata), such as traceparent.
            options: how to connect.
        """
        self.address = address
        self._timeout = timeout
        self._headers = headers
        self._options = options
        self._connect()

    def _connect(self) -> None:
        self._channel = connect(self.address, self._options)
        self._stubs = {
            method.path: self._channel.unary_unary(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.parse_response,
            )
            for method in calls.METHODS
        }
        self._process = os.getpid()

    def predict(
        self,
        model: str,
        inputs: Mapping[str, NDArray[Any]],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = DEFAULT_SIGNATURE,
        outputs: Sequence[str] = (),
        timeout: float | None = None,
    ) -> TensorResponse:
        """Run a signature.

        Args:
            model: name.
            inputs: arrays by the signature's input names, each with the batch first.
            version: None is the newest.
            label: picks the version instead.
            signature: name.
            outputs: which ones to send back; none is all.
            timeout: seconds.
        """
        call = calls.predict(model, inputs, version, label, signature, outputs)
        return self._call(call, timeout)

    def classify(
        self,
        model: str,
        examples: Input,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        timeout: float | None = None,
    ) -> ClassificationResponse:
        """The classes of tf.Examples, by a signature that classifies; see `predict`."""
        return self._call(calls.classify(model, examples, version, label, signature), timeout)

    def regress(
        self,
        model: str,
        examples: Input,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        timeout: float | None = None,
    ) -> RegressionResponse:
        """The numbers for tf.Examples, by a signature that regresses; see `predict`."""
        return self._call(calls.regress(model, examples, version, label, signature), timeout)

    def contract(
        self,
        model: str,
        version: int | None = None,
        *,
        label: str | None = None,
        timeout: float | None = None,
    ) -> Contract:
        """What a model promises; its version is the one that the server knows it by.

        Raises:
            CallError: also a NotFoundError where there is no such label, and a ServerError where
                the model carries no contract that can be read.
        """
        return self._call(calls.contract(model, version, label), timeout)

    def metadata(
        self,
        model: str,
        version: int | None = None,
        *,
        label: str | None = None,
        timeout: float | None = None,
    ) -> Metadata:
        """The signatures of a version.

        Raises:
            CallError: also a ServerError where the answer is not in its format.
        """
        return self._call(calls.metadata(model, version, label), timeout)

    def status(
        self,
        model: str,
        version: int | None = None,
        *,
        label: str | None = None,
        timeout: float | None = None,
    ) -> list[VersionStatus]:
        """The versions of a model that the server knows, newest first; or the one of a number.

        TensorFlow Serving ignores a label here.
        """
        return self._call(calls.status(model, version, label), timeout)

    def close(self) -> None:
        """Close the connection; calls now raise a RuntimeError."""
        self._closed = True
        self._channel.close()

    def __getstate__(self) -> dict[str, Any]:
        return {name: it for name, it in vars(self).items() if name not in ("_channel", "_stubs")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._connect()

    def _call(self, call: calls.Call[Result], timeout: float | None) -> Result:
        self._require_open()
        if self._process != os.getpid():
            # What was inherited fails now and then: gRPC closes it after the fork, at any moment.
            self._connect()
        try:
            response = self._stubs[call.method.path](
                call.request,
                timeout=self._timeout if timeout is None else timeout,
                metadata=self._headers(),
            )
        except grpc.RpcError as error:
            proxy = self._options.proxy_host(self.address)
            raise call.explain(calls.failure(error, self.address, proxy)) from error
        return call.read(response)
