"""Dynamic-range quantisation of the LiteRT file: weights in int8, and what that costs.

No tolerance would let a quantised model's answers pass for those of the model itself and still
find a mistake. So it is judged twice: its score on held-out examples may fall by 0.3 points, and
the file that is published must answer as the one that was judged, as closely as any other file.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from serving.contract import PREDICT_SIGNATURE, Contract
from training.errors import ExportError
from training.evaluation import Answer
from training.opening import open_litert

LARGEST_LOSS = 0.003
# Of decimal fractions in binary: 0.9 - 0.897 is more than 0.003.
_ROUNDING = 1e-9
PREFIX = "quantized_"


@dataclass(frozen=True)
class Quantization:
    """How a quantised model is judged.

    Attributes:
        metric: the figure in the contract's metrics that it is held against, "test_accuracy" or
            another share of which 1 is the best.
        score: the same figure of any model, on the same held-out examples.
    """

    metric: str
    score: Callable[[Answer], float]


def litert_answer(content: bytes, contract: Contract) -> Answer:
    """A LiteRT file as a function."""
    _, run = open_litert(content)
    name, output = contract.encoded.name, contract.output
    return lambda examples: run(PREDICT_SIGNATURE, {name: examples})[output]


def judged(draft: Contract, quantization: Quantization, answer: Answer) -> Contract:
    """The contract with the quantised model's figure beside the model's own.

    Raises:
        ExportError: it falls by more than 0.3 points; the message has both figures.
    """
    metric = quantization.metric
    before, after = draft.metrics[metric], quantization.score(answer)
    # Written so that NaN is refused too.
    if not before - after <= LARGEST_LOSS + _ROUNDING:
        raise ExportError(
            f"{draft.model} loses too much when it is quantised to int8: {metric} falls from "
            f"{before:.4f} to {after:.4f}, by {100 * (before - after):.2f} points, and at most "
            f"{100 * LARGEST_LOSS:.1f} are accepted; export it without --quantize"
        )
    return msgspec.structs.replace(draft, metrics={**draft.metrics, PREFIX + metric: after})
