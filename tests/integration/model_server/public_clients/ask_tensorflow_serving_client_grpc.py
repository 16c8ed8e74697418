"""Calls a server with tensorflow-serving-client-grpc; JSON on stdin and stdout."""

import json
import sys

import grpc
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)


def main() -> None:
    request = json.load(sys.stdin)
    channel = grpc.insecure_channel(sys.argv[1])
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    response = stub.Predict(image_request(request["model"], request["images"]), timeout=30)
    probabilities = response.outputs["probabilities"]
    classes = probabilities.tensor_shape.dim[1].size
    values = list(probabilities.float_val)
    answers = {
        "probabilities": [values[i : i + classes] for i in range(0, len(values), classes)],
        "version": response.model_spec.version.value,
    }
    ask = predict_pb2.PredictRequest()
    ask.model_spec.name, ask.model_spec.signature_name = request["model"], "contract"
    ask.model_spec.version.value = 1
    ask.inputs["query"].dtype = types_pb2.DT_INT32
    ask.inputs["query"].tensor_shape.dim.add(size=1)
    ask.inputs["query"].int_val.append(0)
    contract = stub.Predict(ask, timeout=30).outputs["contract"].string_val
    answers["contract of version 1"] = [text.decode() for text in contract]
    try:
        stub.Predict(image_request("nobody", request["images"]), timeout=30)
    except grpc.RpcError as error:
        answers["error"] = [error.code().name, error.details()]
    ask = get_model_status_pb2.GetModelStatusRequest()
    ask.model_spec.name = request["model"]
    status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(ask, timeout=30)
    state = get_model_status_pb2.ModelVersionStatus.State
    answers["states"] = {
        version.version: state.Name(version.state) for version in status.model_version_status
    }
    print(json.dumps(answers))


def image_request(model, images):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    tensor = request.inputs["image"]
    tensor.dtype = types_pb2.DT_FLOAT
    for size in (len(images), len(images[0]), len(images[0][0]), 1):
        tensor.tensor_shape.dim.add(size=size)
    for image in images:
        for row in image:
            for pixel in row:
                tensor.float_val.extend(pixel)
    return request


if __name__ == "__main__":
    main()
