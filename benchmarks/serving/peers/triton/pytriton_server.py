"""PyTriton: Triton in front of functions of this process, with dynamic batching.

Batches: https://triton-inference-server.github.io/pytriton/latest/inference_callables/decorators/
Instances: https://triton-inference-server.github.io/pytriton/latest/binding_models/#multi-instance-model-inference
"""

import os
from pathlib import Path

import numpy as np
from classifier import LABELS, Classifier, Floats, decode, from_environment
from numpy.typing import NDArray
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


class Digits:
    """An instance of the model."""

    def __init__(self) -> None:
        self.model: Classifier = from_environment()

    @batch
    def __call__(self, png: NDArray[np.object_]) -> dict[str, NDArray[np.object_] | Floats]:
        """Predict PNGs in a tensor [n, 1]."""
        probabilities = self.model.predict(np.stack([decode(each) for each in png[:, 0]]))
        labels = [LABELS[best].encode() for best in probabilities.argmax(axis=1)]
        return {"label": np.array(labels, object)[:, np.newaxis], "probabilities": probabilities}


if __name__ == "__main__":
    http, grpc = (int(port) for port in os.environ["TRITON_PORTS"].split(","))
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=http,
        grpc_port=grpc,
        allow_metrics=False,
        log_verbose=0,
    )
    with Triton(
        config=config, workspace=Path(os.environ["BENCHMARK_FOLDER"], "pytriton")
    ) as triton:
        triton.bind(
            model_name="digits",
            infer_func=[Digits(), Digits()],
            inputs=[Tensor(name="png", dtype=bytes, shape=(1,))],
            outputs=[
                Tensor(name="label", dtype=bytes, shape=(1,)),
                Tensor(name="probabilities", dtype=np.float32, shape=(10,)),
            ],
            config=ModelConfig(max_batch_size=32, batcher=DynamicBatcher()),
        )
        triton.serve()
