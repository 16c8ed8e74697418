"""Warmup: requests that TensorFlow Serving replays before a version answers anyone.

They are Predict requests only. A server that prefers the LiteRT file finds no `classify` or
`regress` in it, and a warmup request that fails keeps the whole version from loading; what these
signatures run is the same network anyway.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.contract import CONTRACT_INPUT, CONTRACT_SIGNATURE, PREDICT_SIGNATURE, Contract
from training.tensorflow_setup import PredictionLog, PredictLog, PredictRequest, tf

# Where TensorFlow Serving looks.
WARMUP_FILE = PurePosixPath("assets.extra/tf_serving_warmup_requests")
# Up to the number of samples: each size has buffers and kernels that the first request prepares.
_BATCH_SIZES = (1, 2, 4, 8, 16, 32)
# Of all batches together, so that large photographs do not make a version large; one always fits.
_MOST_BYTES = 8 * 2**20


def write_warmup(folder: Path, contract: Contract, samples: NDArray[np.float32]) -> None:
    """Write a version's warmup requests.

    Args:
        folder: of the version; has assets.extra/.
        contract: of the model.
        samples: preprocessed training examples, float32 [n, *shape of one example].
    """
    with tf.io.TFRecordWriter(str(folder / WARMUP_FILE)) as writer:
        for request in _requests(contract, samples):
            log = PredictionLog(predict_log=PredictLog(request=request))
            writer.write(log.SerializeToString())


def write_requests(
    folder: Path, contract: Contract, batches: Iterable[Mapping[str, NDArray[Any]]]
) -> None:
    """Write the warmup requests of a version that takes tensors by name.

    Args:
        folder: of the version; has assets.extra/.
        contract: of the model.
        batches: arrays [n, …] by the names of its inputs.
    """
    query = {CONTRACT_INPUT: np.zeros(1, dtype=np.int32)}
    with tf.io.TFRecordWriter(str(folder / WARMUP_FILE)) as writer:
        for signature, inputs in [
            *((PREDICT_SIGNATURE, batch) for batch in batches),
            (CONTRACT_SIGNATURE, query),
        ]:
            request = PredictRequest()
            request.model_spec.name = contract.model
            request.model_spec.signature_name = signature
            for name, value in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            log = PredictionLog(predict_log=PredictLog(request=request))
            writer.write(log.SerializeToString())


def _requests(contract: Contract, samples: NDArray[np.float32]) -> Iterator[PredictRequest]:
    for size in _batch_sizes(samples):
        yield _request(contract, PREDICT_SIGNATURE, contract.encoded.name, samples[:size])
    yield _request(contract, CONTRACT_SIGNATURE, CONTRACT_INPUT, np.zeros(1, dtype=np.int32))


def _batch_sizes(samples: NDArray[np.float32]) -> list[int]:
    sizes = [size for size in _BATCH_SIZES if size <= len(samples)]
    room = _MOST_BYTES // samples[0].nbytes
    return [size for n, size in enumerate(sizes) if n == 0 or sum(sizes[: n + 1]) <= room]


def _request(
    contract: Contract, signature: str, name: str, value: NDArray[np.float32 | np.int32]
) -> PredictRequest:
    request = PredictRequest()
    request.model_spec.name = contract.model
    request.model_spec.signature_name = signature
    request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request
