"""A sample of what is asked and answered, for looking into drift; off unless a file is named.

One JSON object a line. Images and arrays are named by the SHA-256 of their bytes, never kept; rows
of tables are written as they came.
"""

import hashlib
import os
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from rockstar_client.predictor import Predicted
from rockstar_contract.tensor_inputs import to_json
from rockstar_serving.gateway.context import RequestContext
from rockstar_serving.gateway.observer import Observer


class PayloadLog(Observer):
    """Appends samples to a file, which may be rotated under it; several workers may share it."""

    def __init__(self, path: Path, share: float) -> None:
        """Make a log.

        Args:
            path: of the file; made if it is not there, for its owner's eyes only.
            share: of the requests, 0 to 1.
        """
        self._path = path
        self._share = share

    def judged(
        self, context: RequestContext, examples: Sequence[Any], predicted: Predicted
    ) -> None:
        """See Observer."""
        if random.random() >= self._share:  # noqa: S311 (a sample, no secret)
            return
        contract = predicted.contract
        document = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": context.request_id,
            "model": contract.model,
            "version": contract.version,
            "examples": [_trace_of(example) for example in examples],
            "answers": _answers(predicted),
        }
        # Opened for each sample, they are few; a line that is appended at once stays whole.
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with open(descriptor, "wb", buffering=0) as file:
            file.write(msgspec.json.encode(document) + b"\n")


def _trace_of(example: Any) -> Any:
    if isinstance(example, bytes):
        return {"sha256": hashlib.sha256(example).hexdigest(), "bytes": len(example)}
    if isinstance(example, dict):
        return example
    if isinstance(example, Exception):
        return {"error": str(example)}
    content = np.ascontiguousarray(example)
    return {"sha256": hashlib.sha256(content.tobytes()).hexdigest(), "shape": list(content.shape)}


def _answers(predicted: Predicted) -> list[Any]:
    labels, outputs = predicted.contract.labels, predicted.outputs
    if predicted.named:
        columns = {name: to_json(array) for name, array in predicted.named.items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if not labels:
        return [{"value": value} for value in outputs[:, 0].tolist()]
    best = outputs.argmax(axis=1)
    return [
        {"label": labels[index], "score": float(row[index])}
        for index, row in zip(best, outputs, strict=True)
    ]
