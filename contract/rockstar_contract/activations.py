"""What a network computes for one example: the values of its layers, and similar training examples.

Both come from `edge.tflite`, which has the network for one example as its main graph, so versions
need no further outputs. The training examples are in NEIGHBORS_FILE, which an export writes for
small images of public data sets.
"""

import io
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rockstar_contract.images import to_levels

# An .npz of a version.
NEIGHBORS_FILE = PurePosixPath("assets.extra/neighbors.npz")
_MAX_NEIGHBORS_BYTES = 300_000
# Examples of each label in it, at most: more do not make better neighbors.
_MAX_PER_LABEL = 40
_LEVELS = 255


class Activation(NamedTuple):
    """The values of a layer, float32 [h, w, channels] or [units]."""

    name: str
    values: NDArray[np.float32]


class Neighbors(NamedTuple):
    """Training examples by the features that the last layer gets.

    Attributes:
        features: uint8 [n, width], steps of `scale` from 0 or from the lowest value.
        low: float32 [width], lowest value of each feature.
        scale: float32 [width], size of a step; 0 if the feature is constant.
        images: uint8 [n, h, w, c], prepared as for the model; black is the lowest value.
        labels: int64 [n], indices into the contract's labels.
    """

    features: NDArray[np.uint8]
    low: NDArray[np.float32]
    scale: NDArray[np.float32]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def nearest(self, features: NDArray[np.float32], count: int) -> list[int]:
        """Return the rows of the nearest examples by Euclidean distance, the nearest first."""
        known = self.features.astype(np.float32) * self.scale
        distances = np.square(known - (features - self.low)).sum(axis=1)
        nearest: list[int] = np.argsort(distances, kind="stable")[:count].tolist()
        return nearest

    def to_bytes(self) -> bytes:
        """Return the content of NEIGHBORS_FILE."""
        file = io.BytesIO()
        np.savez_compressed(file, **self._asdict())
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Neighbors":
        """Read the content of NEIGHBORS_FILE."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return cls(*(arrays[name] for name in cls._fields))


class LayerReader:
    """Runs a network for one example at a time and reads all its layers; not thread-safe.

    Slower than a prediction: LiteRT's fast kernels do not keep what layers compute.
    """

    def __init__(self, edge: bytes) -> None:
        """Load the content of an edge.tflite; raises ValueError or RuntimeError if damaged."""
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self._interpreter = interpreter = Interpreter(
            model_content=edge,
            num_threads=1,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        # Only constants have values yet.
        named = [detail for detail in interpreter.get_tensor_details() if detail["name"]]
        self._computed = [detail for detail in named if not self._is_constant(detail["index"])]
        interpreter.allocate_tensors()
        self._input = interpreter.get_input_details()[0]["index"]
        self._output = interpreter.get_output_details()[0]

    def run(self, example: NDArray[np.float32]) -> list[Activation]:
        """Return the layers of the network for an example, float32 [*shape], in order.

        Quantized values are converted to numbers. The last layer, which computes the scores, and
        the output are not among them.
        """
        self._interpreter.set_tensor(self._input, example[np.newaxis])
        self._interpreter.invoke()
        layers = []
        for detail in self._computed:
            shape = [int(size) for size in detail["shape"]]
            if detail["index"] == self._input or shape[0] != 1 or len(shape) not in (2, 4):
                continue
            values = self._interpreter.get_tensor(detail["index"])[0]
            scale, zero = detail["quantization"]
            if values.dtype == np.int8 and scale:
                values = (values.astype(np.float32) - zero) * np.float32(scale)
            if values.dtype == np.float32:
                layers.append(Activation(_layer_name(detail["name"]), values))
        last = self._output["shape"][1:]
        while layers and np.array_equal(layers[-1].values.shape, last):
            layers.pop()
        return layers

    def features(self, example: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what the last layer gets for an example, float32 [width]."""
        layers = self.run(example)
        return layers[-1].values.ravel() if layers else example.ravel()

    def _is_constant(self, index: int) -> bool:
        try:
            self._interpreter.get_tensor(index)
        except ValueError:
            return False
        return True


def find_neighbors(
    edge: bytes,
    images: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    labels: NDArray[np.int64],
    value_range: tuple[float, float],
) -> Neighbors:
    """Choose and describe training examples for NEIGHBORS_FILE.

    Args:
        edge: content of the edge.tflite.
        images: returns prepared images by their rows, float32 [n, h, w, c].
        labels: int64 [n], of all rows.
        value_range: smallest and largest value of images.

    Returns:
        The first examples of each label, as many as fit into the size of the file.
    """
    reader = LayerReader(edge)
    order = [np.flatnonzero(labels == label)[:_MAX_PER_LABEL] for label in np.unique(labels)]
    # The first of each label, then the second of each, so that any beginning is balanced.
    ranks = np.concatenate([np.arange(len(rows)) for rows in order])
    rows = np.concatenate(order)[np.argsort(ranks, kind="stable")]
    prepared = images(rows)
    features = np.stack([reader.features(image) for image in prepared])
    low = features.min(axis=0)
    scale = (features.max(axis=0) - low) / _LEVELS
    steps = np.divide(features - low, scale, out=np.zeros_like(features), where=scale > 0)
    shown = to_levels(prepared, *value_range)
    found = Neighbors(np.round(steps).astype(np.uint8), low, scale, shown, labels[rows])
    while (size := len(found.to_bytes())) > _MAX_NEIGHBORS_BYTES:
        fewer = int(len(found.labels) * 0.95 * _MAX_NEIGHBORS_BYTES / size)
        found = Neighbors(
            found.features[:fewer], low, scale, found.images[:fewer], found.labels[:fewer]
        )
    return found


def _layer_name(name: str) -> str:
    """The layer of a tensor such as "cnn_1/relu_2a_1/Relu;cnn_1/norm_2a_1/…": "relu_2a"."""
    parts: Any = name.partition(";")[0].split("/")
    layer = parts[-2] if len(parts) > 1 else parts[0]
    # Keras numbers the copy that is exported.
    return str(layer.removesuffix("_1"))
