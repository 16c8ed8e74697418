"""Calls a server with min-tfs-client; JSON on stdin and stdout."""

import json
import sys

import grpc
import numpy as np
from min_tfs_client.requests import TensorServingClient
from min_tfs_client.tensors import ndarray_to_tensor_proto, tensor_proto_to_ndarray
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub


def main() -> None:
    host, _, port = sys.argv[1].rpartition(":")
    request = json.load(sys.stdin)
    client = TensorServingClient(host, int(port))
    images = np.array(request["images"], np.float32)
    response = client.predict_request(request["model"], {"image": images}, timeout=30)
    answers = {
        "probabilities": tensor_proto_to_ndarray(response.outputs["probabilities"]).tolist(),
        "version": response.model_spec.version.value,
    }
    # It has no argument for a signature, so use its message classes and tensors.
    ask = PredictRequest()
    ask.model_spec.name, ask.model_spec.signature_name = request["model"], "contract"
    ask.model_spec.version.value = 1
    ask.inputs["query"].CopyFrom(ndarray_to_tensor_proto(np.array([0], np.int32)))
    with grpc.insecure_channel(sys.argv[1]) as channel:
        by_signature = PredictionServiceStub(channel).Predict(ask, timeout=30)
    contract = tensor_proto_to_ndarray(by_signature.outputs["contract"])
    answers["contract of version 1"] = contract.tolist()
    try:
        client.predict_request("nobody", {"image": images}, timeout=30)
    except grpc.RpcError as error:
        answers["error"] = [error.code().name, error.details()]
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
