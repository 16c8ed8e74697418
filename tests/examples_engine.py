"""A fake engine whose signatures take tf.Examples."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rockstar_serving.model_server.deadline import NO_DEADLINE
from rockstar_serving.model_server.engines.engine import ServableId
from tests.fake_engine import DOUBLE, spec
from tfs_api.messages.example_pb2 import Example
from tfs_api.messages.inference_pb2 import InferenceTask
from tfs_api.messages.prediction_pb2 import ModelSpec
from tfs_api.signature import CLASSIFY_METHOD, PREDICT_METHOD, REGRESS_METHOD, Signature
from tfs_api.status import Code, StatusError

EXAMPLES = {"inputs": spec(object, -1)}
CLASSES = {"classes": spec(object, -1, -1)}
SCORES = {"scores": spec(np.float32, -1, -1)}
REGRESSION = {"outputs": spec(np.float32, -1, 1)}
LABELS = ("cold", "warm")


def example(**features: float | Sequence[Any]) -> bytes:
    """A serialized tf.Example of a float, or lists of float, int or bytes."""
    message = Example()
    for name, given in features.items():
        values = [given] if isinstance(given, float) else given
        if not values:
            continue
        kind = {bytes: "bytes", float: "float", int: "int64"}[type(values[0])]
        getattr(message.features.feature[name], f"{kind}_list").value.extend(values)
    return message.SerializeToString()


def inference_task(model: str, method: str, signature: str = "") -> InferenceTask:
    """A task of a MultiInference request."""
    spec = ModelSpec(name=model, signature_name=signature)
    return InferenceTask(model_spec=spec, method_name=method)


class ExamplesEngine:
    """Returns the scores [-x, x] for LABELS of the float feature `x`, or x itself; counts runs."""

    name = "fake"
    signatures: Mapping[str, Signature] = {
        "serving_default": Signature(EXAMPLES, CLASSES | SCORES, CLASSIFY_METHOD),
        "labels": Signature(EXAMPLES, CLASSES, CLASSIFY_METHOD),
        "scores": Signature(EXAMPLES, SCORES, CLASSIFY_METHOD),
        "regress": Signature(EXAMPLES, REGRESSION, REGRESS_METHOD),
        # As saved by TensorFlow 2.
        "classify_by_predict": Signature(EXAMPLES, CLASSES | SCORES, PREDICT_METHOD),
        "regress_by_predict": Signature(EXAMPLES, REGRESSION, PREDICT_METHOD),
        "double": DOUBLE,
    }

    def __init__(self) -> None:
        self.runs: list[str] = []

    def run(self, signature, feeds, fetches, deadline=NO_DEADLINE):
        deadline.check()
        self.runs.append(signature)
        x = np.array([_x(serialized) for serialized in feeds["inputs"]], np.float32)[:, np.newaxis]
        labels = np.empty((len(x), len(LABELS)), object)
        labels[:] = [label.encode() for label in LABELS]
        outputs = {"classes": labels, "scores": np.hstack([-x, x]), "outputs": x}
        return {name: outputs[name] for name in fetches}

    def close(self) -> None: ...


def load_examples_engine(servable_id: ServableId, folder: Path) -> ExamplesEngine:
    """A Loader."""
    return ExamplesEngine()


def _x(serialized: bytes) -> float:
    values = Example.FromString(serialized).features.feature["x"].float_list.value
    if len(values) != 1:
        raise StatusError(Code.INVALID_ARGUMENT, f"feature x has {len(values)} values")
    return values[0]


class GivenEngine:
    """Has one signature that returns its input."""

    name = "given"

    def __init__(self, signature: Signature, **outputs: Any) -> None:
        self.signatures: Mapping[str, Signature] = {"serving_default": signature}
        self._outputs = outputs

    def run(self, signature, feeds, fetches, deadline=NO_DEADLINE):
        return {name: self._outputs[name] for name in fetches}

    def close(self) -> None: ...
