"""Versions change under load, and nobody notices."""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import pytest

from serving.api import services
from serving.api.messages.prediction_pb2 import PredictRequest
from serving.api.tensors import to_array, to_proto
from serving.model_server.models.config import ModelConfig
from serving.model_server.options import BatchingOptions, LoadOptions, ServerOptions
from serving.model_server.server import ModelServer
from tests.integration.model_server.conftest import ask
from tests.model_fixtures import document, write_version
from tests.waiting import until

LAST = 8


@pytest.mark.parametrize("batching", [False, True])
def test_no_request_fails_while_versions_come_and_go(tmp_path: Path, batching: bool) -> None:
    base_path = tmp_path / "toy"
    write_version(base_path, 1)
    options = ServerOptions(
        (ModelConfig("toy", base_path),),
        load=LoadOptions(poll_seconds=0.01),
        batching=BatchingOptions(batching),
    )
    stop = threading.Event()
    seen: set[int] = set()

    def answered(version: int) -> bool:
        return version in seen or any(load.done() for load in loads)

    def grpc_load() -> int:
        count = 0
        request = PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "toy", "contract"
        request.inputs["query"].CopyFrom(to_proto(np.zeros(1, np.int32)))
        with grpc.insecure_channel(str(server.grpc_address)) as channel:
            predict = channel.unary_unary(
                services.PREDICT.path,
                request_serializer=PredictRequest.SerializeToString,
                response_deserializer=services.PREDICT.parse_response,
            )
            while not stop.is_set():
                response = predict(request, timeout=30)
                version = response.model_spec.version.value
                answer = to_array(response.outputs["contract"]).tolist()
                # The version that is named is the one that answered.
                assert answer == [document(version).encode()]
                seen.add(version)
                count += 1
        return count

    def rest_load() -> int:
        count = 0
        body = {"signature_name": "contract", "instances": [0]}
        while not stop.is_set():
            status, answer = ask(server.rest_address, "/v1/models/toy:predict", body)
            assert status == 200, answer
            count += 1
        return count

    with ModelServer(options) as server, ThreadPoolExecutor(4) as pool:
        loads = [pool.submit(load) for load in (grpc_load, grpc_load, grpc_load, rest_load)]
        try:
            for version in range(2, LAST + 1):
                write_version(base_path, version)
                until(partial(answered, version), what=f"version {version}")
        finally:
            stop.set()
        assert all(load.result() > 0 for load in loads)
    assert seen >= set(range(2, LAST + 1))
