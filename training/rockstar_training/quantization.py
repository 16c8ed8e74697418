"""Quantisation of the LiteRT files, and what that costs.

    mode      weights    activations          input and output    size
    dynamic   int8       float32              float32             a quarter
    float16   float16    float32              float32             half
    int8      int8       int8, calibrated     float32             a quarter

Calibration takes the ranges of activations from training examples. An operation without an int8
kernel stays in float32.

No tolerance would let a quantised model's answers pass for those of the model itself and still
find a mistake. So it is judged twice: its score on held-out examples may fall by 0.3 points, and
the files that are published must answer as those that were judged, as closely as any other file.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from rockstar_contract.contract import PREDICT_SIGNATURE, Contract
from rockstar_training.config import QUANTIZATIONS
from rockstar_training.errors import ExportError
from rockstar_training.evaluation import Answer, accuracy, predict_part, regression_metrics
from rockstar_training.loaders import open_litert
from rockstar_training.prepared import Prepared
from rockstar_training.tensorflow_setup import tf

LARGEST_LOSS = 0.003
# Of decimal fractions in binary: 0.9 - 0.897 is more than 0.003.
_ROUNDING = 1e-9
PREFIX = "quantized_"
# Training examples that calibration sees.
CALIBRATION_EXAMPLES = 200


@dataclass(frozen=True, eq=False)
class Quantization:
    """How a model is quantised and judged.

    Attributes:
        mode: "dynamic", "float16" or "int8".
        metric: the figure in the contract's metrics that it is held against, "test_accuracy" or
            another share of which 1 is the best.
        score: the same figure of any model, on the same held-out examples.
        examples: training examples to calibrate with, float32 [n, *shape of one example].
    """

    mode: str
    metric: str
    score: Callable[[Answer], float]
    examples: NDArray[np.float32]


def quantization_for(data: Prepared, mode: str) -> Quantization | None:
    """Return how to quantize a model of this data, judged by held-out accuracy or R².

    Args:
        data: the training data.
        mode: one of QUANTIZATIONS; "none" gives None.
    """
    if mode == "none":
        return None
    train = data.train
    chosen = np.linspace(0, train.count - 1, min(CALIBRATION_EXAMPLES, train.count))
    examples = train.tensors(chosen.astype(np.int64))

    def r2(answer: Answer) -> float:
        metrics = regression_metrics(predict_part(answer, data.test), data.test.targets)
        return metrics.get("test_r2", float("nan"))

    def test_accuracy(answer: Answer) -> float:
        return accuracy(predict_part(answer, data.test), data.test.targets)

    if data.task == "regression":
        return Quantization(mode, "test_r2", r2, examples)
    return Quantization(mode, "test_accuracy", test_accuracy, examples)


class Quantized(NamedTuple):
    """What the quantised files answer: model.tflite and edge.tflite."""

    model: Answer
    edge: Answer


def configure(converter: Any, quantization: Quantization, contract: Contract) -> None:
    """Let a tf.lite.TFLiteConverter of a SavedModel quantise the model of a contract."""
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization.mode == "float16":
        converter.target_spec.supported_types = [tf.float16]
    elif quantization.mode == "int8":
        name = contract.encoded.name

        def examples() -> Iterator[tuple[str, dict[str, NDArray[np.float32]]]]:
            for example in quantization.examples:
                yield PREDICT_SIGNATURE, {name: example[np.newaxis]}

        converter.representative_dataset = examples


def litert_answer(content: bytes, contract: Contract) -> Answer:
    """A LiteRT file as a function."""
    _, run = open_litert(content)
    name, output = contract.encoded.name, contract.output
    return lambda examples: run(PREDICT_SIGNATURE, {name: examples})[output]


def judged(draft: Contract, quantization: Quantization, quantized: Quantized) -> Contract:
    """The contract with the figure of the worse quantised file beside the model's own.

    Raises:
        ExportError: it falls by more than 0.3 points; the message has both figures.
    """
    metric, mode = quantization.metric, quantization.mode
    before = draft.metrics[metric]
    # np.min keeps NaN, min may not.
    after = float(np.min([quantization.score(answer) for answer in quantized]))
    # Written so that NaN is refused too.
    if not before - after <= LARGEST_LOSS + _ROUNDING:
        others = " or ".join(each for each in QUANTIZATIONS if each not in (mode, "none"))
        raise ExportError(
            f"{draft.model} loses too much when it is quantised to {mode}: {metric} falls from "
            f"{before:.4f} to {after:.4f}, by {100 * (before - after):.2f} points, and at most "
            f"{100 * LARGEST_LOSS:.1f} are accepted; try --quantize {others}, or leave it out"
        )
    return msgspec.structs.replace(draft, metrics={**draft.metrics, PREFIX + metric: after})
