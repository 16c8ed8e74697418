"""Calls a server with ovmsclient, over gRPC and REST; JSON on stdin and stdout."""

import json
import sys

import numpy as np
from ovmsclient import make_grpc_client, make_http_client
from ovmsclient.tfs_compat.base.errors import ModelNotFoundError


def main() -> None:
    request = json.load(sys.stdin)
    images = np.array(request["images"], np.float32)
    answers = {}
    for name, client in (
        ("grpc", make_grpc_client(sys.argv[1])),
        ("rest", make_http_client(sys.argv[2])),
    ):
        # Without a version it requests version 0, which does not mean the newest to TensorFlow Serving.
        asked = {"model_name": request["model"], "model_version": 2}
        metadata = client.get_model_metadata(**asked)
        answers[name] = {
            "probabilities": client.predict({"image": images}, **asked).tolist(),
            "states": client.get_model_status(**asked),
            "version": metadata["model_version" if name == "grpc" else "model_spec"],
        }
        try:
            client.predict({"image": images}, "nobody", 2)
        except ModelNotFoundError as error:
            answers[name]["error"] = str(error)
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
