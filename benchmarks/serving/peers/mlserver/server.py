"""MLServer's custom runtime, with adaptive batching and a parallel worker for each core.

Batches: https://docs.seldon.ai/mlserver/user-guide/adaptive-batching
Workers: https://docs.seldon.ai/mlserver/user-guide/parallel-inference
PNGs are base64 in a BYTES tensor, arrays FP32.
"""

import numpy as np
from classifier import LABELS, decode, from_environment
from mlserver import MLModel
from mlserver.codecs import Base64Codec, NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Digits(MLModel):
    """Implements the V2 inference protocol."""

    async def load(self) -> bool:
        """Load the model."""
        self.model = from_environment()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Predict a batch of one or more requests."""
        tensor = payload.inputs[0]
        if tensor.datatype == "BYTES":
            images = np.stack([decode(png) for png in Base64Codec.decode_input(tensor)])
        else:
            images = NumpyCodec.decode_input(tensor).astype(np.float32)
        probabilities = self.model.predict(images)
        labels = [LABELS[best] for best in probabilities.argmax(axis=1)]
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                StringCodec.encode_output("label", labels),
                NumpyCodec.encode_output("probabilities", probabilities),
            ],
        )
