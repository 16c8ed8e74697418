"""Calls a server with tritonclient's HTTP client; images as JSON on stdin, responses on stdout."""

import json
import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException


def main() -> None:
    images = np.array(json.load(sys.stdin), np.float32)
    client = triton.InferenceServerClient(sys.argv[1])
    answers = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model": client.is_model_ready("toy"),
        "version": client.is_model_ready("toy", "1"),
        "nobody": client.is_model_ready("nobody"),
        "server": client.get_server_metadata(),
        "metadata": client.get_model_metadata("toy"),
    }
    for binary in (True, False):
        tensor = triton.InferInput("image", list(images.shape), "FP32")
        tensor.set_data_from_numpy(images, binary_data=binary)
        wanted = triton.InferRequestedOutput("probabilities", binary_data=binary)
        answer = client.infer("toy", [tensor], outputs=[wanted], request_id="seven")
        answers[f"binary {binary}"] = answer.as_numpy("probabilities").tolist()
        answers["id"] = answer.get_response()["id"]
    for coding in ("gzip", "deflate"):
        answer = client.infer("toy", [tensor], request_compression_algorithm=coding)
        answers[coding] = answer.as_numpy("probabilities").tolist()
    query = triton.InferInput("query", [1], "INT32")
    query.set_data_from_numpy(np.array([0], np.int32))
    answer = client.infer("toy", [query], parameters={"signature_name": "contract"})
    answers["contract"] = [text.decode() for text in answer.as_numpy("contract")]
    try:
        client.infer("nobody", [tensor])
    except InferenceServerException as error:
        answers["error"] = error.message()
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
