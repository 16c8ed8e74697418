"""Calls a server with KServe's REST client; images as JSON on stdin, responses on stdout."""

import asyncio
import json
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig


async def main() -> None:
    images = np.array(json.load(sys.stdin), np.float32)
    url = f"http://{sys.argv[1]}"
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=1))
    answers = {
        "live": await client.is_server_live(url),
        "ready": await client.is_server_ready(url),
        "model": await client.is_model_ready(url, "toy"),
        "nobody": await client.is_model_ready(url, "nobody"),
    }
    for binary in (True, False):
        tensor = InferInput("image", list(images.shape), "FP32")
        tensor.set_data_from_numpy(images, binary_data=binary)
        request = InferRequest("toy", [tensor], request_id="seven")
        answer = await client.infer(url, request, model_name="toy")
        answers[f"binary {binary}"] = answer.outputs[0].as_numpy().tolist()
        answers["id"] = answer.id
    try:
        await client.infer(url, request, model_name="nobody")
    except httpx.HTTPStatusError as error:
        answers["error"] = [error.response.status_code, str(error)]
    # KServe's protocol V1 is TensorFlow Serving's.
    client = InferenceRESTClient(RESTConfig(protocol="v1", retries=1))
    answer = await client.infer(url, {"instances": images.tolist()}, model_name="toy")
    answers["v1"] = answer["predictions"]
    print(json.dumps(answers))


if __name__ == "__main__":
    asyncio.run(main())
