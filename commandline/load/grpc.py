"""A model server under load, over gRPC: Predict with tensors that were prepared beforehand."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np

from clients.arguments import fixed_headers
from clients.channel import ChannelOptions
from clients.examples import read_examples
from clients.proxy import grpc_proxy
from clients.tfserving import Headers, TFServingClient
from clients.tls import Tls
from commandline.load.plan import OK, TIMEOUT, Call
from serving.api.messages.prediction_pb2 import PredictRequest
from serving.api.services import MAX_MESSAGE_BYTES, PREDICT
from serving.api.tensors import to_proto
from serving.contract import PREDICT_SIGNATURE
from serving.inputs import prepare

_OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A connection for each channel, not one for all; and what fails counts as failed.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
]


@dataclass(frozen=True)
class GrpcTarget:
    """Where to.

    Attributes:
        server: "host:port" of the gRPC API.
        model: name.
        version: None is the newest.
        api_key: where a proxy before the server asks for one.
        timeout: seconds that an answer may take.
        tls: whom to trust; None is plain text.
    """

    server: str
    model: str
    version: int | None = None
    api_key: str | None = None
    timeout: float = 10.0
    tls: Tls | None = None

    @property
    def address(self) -> str:
        """What is asked, for people."""
        version = "" if self.version is None else f" version {self.version}"
        return f"Predict {self.model}{version} at {self.server}"

    def requests(self, files: Sequence[Path]) -> list[bytes]:
        """A serialized request for each file, prepared as the model's contract says.

        Raises:
            CallError: the server does not tell the contract.
            InvalidInputError: a file cannot be used.
        """
        said, options = self._said(), ChannelOptions(tls=self.tls, proxy=True)
        with TFServingClient(
            self.server, timeout=self.timeout, headers=lambda: said, options=options
        ) as server:
            spec = server.contract(self.model, self.version).encoded
        requests = []
        for file in files:
            examples = read_examples(file)
            rows = np.stack([prepare(each, spec, field=str(file)) for each in examples])
            request = PredictRequest()
            request.model_spec.name = self.model
            request.model_spec.signature_name = PREDICT_SIGNATURE
            if self.version is not None:
                request.model_spec.version.value = self.version
            request.inputs[spec.name].CopyFrom(to_proto(rows, as_content=True))
            requests.append(request.SerializeToString())
        return requests

    @asynccontextmanager
    async def calls(self, requests: Sequence[bytes], connections: int) -> AsyncIterator[Call]:
        """What sends the requests in turn, over so many connections."""
        async with AsyncExitStack() as stack:
            channels = [
                await stack.enter_async_context(self._channel()) for _ in range(connections)
            ]
            said = self._said()
            methods: list[Any] = [channel.unary_unary(PREDICT.path) for channel in channels]

            async def call(number: int, connection: int) -> str:
                request = requests[number % len(requests)]
                try:
                    await methods[connection](request, timeout=self.timeout, metadata=said)
                except grpc.aio.AioRpcError as error:
                    late = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                    return TIMEOUT if late else error.code().name
                return OK

            yield call

    def _said(self) -> Headers:
        return tuple(fixed_headers(self.api_key, None).items())

    def _channel(self) -> grpc.aio.Channel:
        credentials = ChannelOptions(tls=self.tls).credentials()
        options = [*_OPTIONS, *grpc_proxy(self.server)]
        if credentials is None:
            return grpc.aio.insecure_channel(self.server, options=options)
        return grpc.aio.secure_channel(self.server, credentials, options=options)
