"""A fake engine."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rockstar_serving.model_server.deadline import NO_DEADLINE
from rockstar_serving.model_server.engines.engine import Loader, LoadError, ServableId
from rockstar_serving.model_server.models.config import ModelConfig
from rockstar_serving.model_server.models.manager import Manager
from rockstar_serving.model_server.options import LoadOptions
from tfs_api.signature import Signature, TensorSpec
from tfs_api.status import Code, StatusError


def spec(dtype: Any, *shape: int) -> TensorSpec:
    return TensorSpec("tensor:0", np.dtype(dtype), shape)


DOUBLE = Signature(inputs={"x": spec(np.float32, -1, 2)}, outputs={"y": spec(np.float32, -1, 2)})
SUM = Signature(
    inputs={"a": spec(np.int32, -1), "b": spec(np.int32, -1)},
    outputs={"sum": spec(np.int32, -1), "difference": spec(np.int32, -1)},
)
ECHO = Signature(
    inputs={"text": spec(object, -1)},
    outputs={"text": spec(object, -1), "text_bytes": spec(object, -1)},
)
ONCE = LoadOptions(poll_seconds=0, settle_seconds=0, allow_labels_for_unavailable=True)
FAIL = Signature(inputs={"x": spec(np.float32, -1)}, outputs={"y": spec(np.float32, -1)})


class FakeEngine:
    """Computes a few signatures in NumPy; run() waits while `proceed` is clear."""

    name = "fake"
    signatures: Mapping[str, Signature] = {
        "serving_default": DOUBLE,
        "sum": SUM,
        "echo": ECHO,
        "fail": FAIL,
    }

    def __init__(self) -> None:
        self.closed = False
        self.runs: list[str] = []
        self.entered = threading.Event()
        self.proceed = threading.Event()
        self.proceed.set()

    def run(self, signature, feeds, fetches, deadline=NO_DEADLINE):
        assert not self.closed
        self.runs.append(signature)
        self.entered.set()
        assert self.proceed.wait(30)
        assert not self.closed
        with np.errstate(all="ignore"):  # as engines, which do not warn of an overflow
            outputs = self._outputs(signature, feeds)
        return {name: outputs[name] for name in fetches}

    def close(self) -> None:
        self.closed = True

    def _outputs(self, signature: str, feeds: Mapping[str, Any]) -> dict[str, Any]:
        if signature == "serving_default":
            return {"y": feeds["x"] * 2}
        if signature == "sum":
            return {"sum": feeds["a"] + feeds["b"], "difference": feeds["a"] - feeds["b"]}
        if signature == "echo":
            return {"text": feeds["text"], "text_bytes": feeds["text"]}
        raise RuntimeError("secret of the engine room")


class FakeLoader:
    """Loads folders with a file `ok`; keeps its engines by version number."""

    def __init__(self) -> None:
        self.engines: dict[int, FakeEngine] = {}
        self.attempts: list[int] = []
        self.fails: set[int] = set()

    def __call__(self, servable_id: ServableId, folder: Path) -> FakeEngine:
        self.attempts.append(int(folder.name))
        if not (folder / "ok").exists() or int(folder.name) in self.fails:
            raise LoadError(f"{folder}/ok is missing")
        self.engines[int(folder.name)] = FakeEngine()
        return self.engines[int(folder.name)]


def refusal(call: Any, *arguments: Any, **named: Any) -> tuple[Code, str]:
    """The code and the message of a call that fails with a StatusError."""
    with pytest.raises(StatusError) as caught:
        call(*arguments, **named)
    return caught.value.code, caught.value.message


@contextmanager
def running(
    *configs: ModelConfig, load: Loader | None = None, options: LoadOptions = ONCE
) -> Iterator[Manager]:
    """A manager that has loaded its models."""
    manager = Manager(configs, load or FakeLoader(), options)
    manager.start()
    try:
        yield manager
    finally:
        manager.stop()


def add_version(base_path: Path, version: int | str, *, ok: bool = True) -> Path:
    folder = base_path / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.tflite").touch()
    if ok:
        (folder / "ok").touch()
    return folder
