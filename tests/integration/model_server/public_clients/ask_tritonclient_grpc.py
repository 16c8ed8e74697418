"""Calls a server with tritonclient's gRPC client; JSON on stdin and stdout."""

import json
import sys

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException


def main() -> None:
    request = json.load(sys.stdin)
    model = request["model"]
    client = triton.InferenceServerClient(sys.argv[1])
    image = tensor("image", np.array(request["images"], np.float32), "FP32")
    response = client.infer(model, [image], request_id="seven", client_timeout=30)
    query = tensor("query", np.array([0], np.int32), "INT32")
    contract = client.infer(
        model, [query], model_version="1", parameters={"signature_name": "contract"}
    )
    answers = {
        "probabilities": response.as_numpy("probabilities").tolist(),
        "version": int(response.get_response().model_version),
        "id": response.get_response().id,
        "contract of version 1": [text.decode() for text in contract.as_numpy("contract")],
        "ready": [
            client.is_server_live(),
            client.is_server_ready(),
            client.is_model_ready(model),
            client.is_model_ready(model, "1"),
        ],
        "nobody": client.is_model_ready("nobody"),
        "server": client.get_server_metadata(as_json=True),
        "metadata": client.get_model_metadata(model, as_json=True),
        "config": client.get_model_config(model, as_json=True)["config"],
        "index": client.get_model_repository_index(as_json=True)["models"],
    }
    for coding in ("gzip", "deflate"):
        wanted = [triton.InferRequestedOutput("probabilities")]
        response = client.infer(model, [image], outputs=wanted, compression_algorithm=coding)
        answers[coding] = response.as_numpy("probabilities").tolist()
    for name, call in {
        "error": lambda: client.infer("nobody", [image]),
        "statistics": client.get_inference_statistics,
    }.items():
        try:
            call()
        except InferenceServerException as error:
            answers[name] = [error.status().removeprefix("StatusCode."), error.message()]
    print(json.dumps(answers))


def tensor(name: str, values: np.ndarray, datatype: str) -> triton.InferInput:
    made = triton.InferInput(name, list(values.shape), datatype)
    return made.set_data_from_numpy(values)


if __name__ == "__main__":
    main()
