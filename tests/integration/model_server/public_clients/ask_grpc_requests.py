"""Calls a server by reflection with grpc_requests; JSON on stdin and stdout."""

import json
import sys

import grpc
from grpc_requests import Client


def main() -> None:
    request = json.load(sys.stdin)
    client = Client.get_by_endpoint(sys.argv[1])
    prediction = client.service("tensorflow.serving.PredictionService")
    images = request["images"]
    tensor = {
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": [{"size": len(images)}, *({"size": n} for n in (4, 4, 1))]},
        "float_val": [
            value for image in images for row in image for pixel in row for value in pixel
        ],
    }
    model = {"name": request["model"]}
    answer = prediction.Predict({"model_spec": model, "inputs": {"image": tensor}})
    described = prediction.GetModelMetadata(
        {"model_spec": model, "metadata_field": ["signature_def"]}
    )
    status = client.request(
        "tensorflow.serving.ModelService", "GetModelStatus", {"model_spec": model}
    )
    answers = {
        "services": sorted(client.service_names),
        "probabilities": answer["outputs"]["probabilities"]["float_val"],
        "signatures": sorted(described["metadata"]["signature_def"]["signature_def"]),
        "states": {each["version"]: each["state"] for each in status["model_version_status"]},
    }
    try:
        prediction.Predict({"model_spec": {"name": "nobody"}, "inputs": {"image": tensor}})
    except grpc.RpcError as error:
        answers["error"] = [error.code().name, error.details()]
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
