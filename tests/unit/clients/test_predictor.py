import random
import time
from types import SimpleNamespace

import numpy as np
import pytest

from rockstar_client.backend import Query, TensorResponse
from rockstar_client.errors import DeadlineExceededError, NotFoundError
from rockstar_client.predictor import Predictor
from tests.contracts import LABELS, make_contract
from tfs_api.status import Code

MANY_SERVERS = 4


class Servers:
    """Model servers behind one address, each with one version, as during a rollout."""

    def __init__(self, versions: list[int], turns: random.Random | None = None) -> None:
        self.versions, self._turns, self._calls = versions, turns, 0

    def _next(self) -> int:
        self._calls += 1
        if self._turns is not None:
            return self._turns.choice(self.versions)
        return self.versions[self._calls % len(self.versions)]

    def predict(self, query):
        answering = self._next()
        self._require(query.version, answering)
        probabilities = np.full((len(query.inputs["image"]), len(LABELS)), answering, np.float32)
        return TensorResponse({"probabilities": probabilities}, answering)

    def contract(self, query):
        answering = self._next()
        self._require(query.version, answering)
        return make_contract(version=answering)

    def _require(self, version: int | None, there: int) -> None:
        if version not in (None, there):
            raise NotFoundError(Code.NOT_FOUND, f"no version {version}")


def predict(predictor, **options):
    batch = np.zeros((1, 8, 8, 1), np.float32)
    predicted = predictor.predict(Query("toy", timeout=30.0, **options), lambda _: batch)
    assert (predicted.outputs == predicted.contract.version).all()
    return predicted.contract.version


@pytest.mark.parametrize("new", range(1, MANY_SERVERS))
@pytest.mark.parametrize("turns", [None, 1, 2, 3])
def test_every_request_succeeds_during_a_rollout(new, turns):
    servers = Servers([1] * MANY_SERVERS, None if turns is None else random.Random(turns))
    predictor = Predictor(servers)
    assert predict(predictor) == 1
    servers.versions = [2] * new + [1] * (MANY_SERVERS - new)
    assert {predict(predictor) for _ in range(50)} <= {1, 2}


def test_a_missing_version():
    with pytest.raises(NotFoundError):
        predict(Predictor(Servers([1])), version=2)


def test_a_deadline_that_passes_during_preprocessing(monkeypatch):
    def prepare(_):
        later = time.monotonic() + 30
        monkeypatch.setattr("rockstar_client.calls.time", SimpleNamespace(monotonic=lambda: later))
        return np.zeros((1, 8, 8, 1), np.float32)

    with pytest.raises(DeadlineExceededError, match="within 20 s: give it more with timeout="):
        Predictor(Servers([1])).predict(Query("toy", timeout=20), prepare)
