"""A fake gRPC model server that responds, fails or waits."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import numpy as np

from tests.contracts import make_contract
from tfs_api.messages.prediction_pb2 import PredictRequest, PredictResponse
from tfs_api.tensors import to_array, to_proto


class Server:
    """A model server of `toy` that fails a given number of times."""

    def __init__(self) -> None:
        self.failures: list[tuple] = []
        self.metadata: list[dict] = []
        self.predictions = 0
        self.silent = False
        self.ended = threading.Event()
        self.lock = threading.Lock()

    def predict(self, request: PredictRequest, context: grpc.ServicerContext) -> PredictResponse:
        response = PredictResponse(model_spec={"name": "toy"})
        response.model_spec.version.value = 2
        with self.lock:
            self.metadata.append(dict(context.invocation_metadata()))
            failure = self.failures.pop(0) if self.failures else None
        if failure:
            code, detail, *pushback = failure
            if pushback:
                context.set_trailing_metadata((("grpc-retry-pushback-ms", pushback[0]),))
            context.abort(code, detail)
        if request.model_spec.signature_name == "contract":
            document = np.array([make_contract().to_json()], object)
            response.outputs["contract"].CopyFrom(to_proto(document))
            return response
        if self.silent:
            self.ended.wait(30)
        rows = len(to_array(request.inputs["image"]))
        with self.lock:
            self.predictions += 1
        probabilities = np.tile(np.array([0.125, 0.5, 0.25, 0.125], np.float32), (rows, 1))
        response.outputs["probabilities"].CopyFrom(to_proto(probabilities))
        return response


@contextmanager
def running(
    server: Server, credentials: grpc.ServerCredentials | None = None, address: str = "127.0.0.1:0"
) -> Iterator[str]:
    """Serve; yields the address."""
    method = grpc.unary_unary_rpc_method_handler(
        server.predict,
        request_deserializer=PredictRequest.FromString,
        response_serializer=PredictResponse.SerializeToString,
    )
    service = "tensorflow.serving.PredictionService"
    endpoint = grpc.server(ThreadPoolExecutor(16))
    endpoint.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {"Predict": method}),)
    )
    if credentials is None:
        port = endpoint.add_insecure_port(address)
    else:
        port = endpoint.add_secure_port(address, credentials)
    endpoint.start()
    try:
        yield f"{address.rpartition(':')[0]}:{port}"
    finally:
        server.ended.set()
        endpoint.stop(0).wait()
