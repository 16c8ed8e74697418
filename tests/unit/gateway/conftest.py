import threading

import numpy as np
import pytest

from clients.backend import Metadata, TensorResponse, VersionStatus
from clients.errors import call_error
from serving.api.messages.example_pb2 import Example
from serving.api.messages.inference_pb2 import ClassificationResponse, RegressionResponse
from serving.api.signature import Signature, TensorSpec, signature_def
from serving.api.status import Code
from serving.contract import Contract
from serving.gateway.app import create_app
from serving.gateway.config import GatewayConfig
from tests.contracts import make_contract


class FakeServer:
    """A model server of one toy model, behind the gateway's backend seam.

    It answers with a distribution that depends on the input, so that mixing up rows is seen.
    """

    def __init__(self) -> None:
        self.versions: dict[int, Contract] = {1: make_contract()}
        self.labels: dict[str, int] = {}
        self.failure: Exception | None = None
        self.batches: list[np.ndarray] = []
        self.timeouts: list[float] = []
        self.contract_reads = 0
        self.metadata_reads = 0
        self.lock = threading.Lock()
        self.proceed = threading.Event()
        self.proceed.set()
        # Versions that answer only when they may proceed.
        self.hold = {1}
        self.entered = 0

    def _version(self, model: str, version: int | None, label: str | None = None) -> int:
        if self.failure:
            raise self.failure
        if model != "toy":
            raise call_error(Code.NOT_FOUND, f"Servable not found for request: Latest({model})")
        if label is not None:
            if label not in self.labels:
                raise call_error(Code.NOT_FOUND, f"Unrecognized servable version label: {label}")
            version = self.labels[label]
        if version is not None and version not in self.versions:
            raise call_error(Code.NOT_FOUND, f"Servable not found for request: Specific({version})")
        return max(self.versions) if version is None else version

    def predict(self, model, inputs, *, version=None, label=None, timeout=None, **_):
        version = self._version(model, version, label)
        contract = self.versions[version]
        batch = inputs.get(contract.input.name)
        if batch is None or batch.shape[1:] != contract.input.shape:
            raise call_error(Code.INVALID_ARGUMENT, "input does not match signature")
        with self.lock:
            self.batches.append(batch)
            self.timeouts.append(timeout)
            self.entered += 1
        if version in self.hold:
            assert self.proceed.wait(30)
        return TensorResponse({"probabilities": toy_probabilities(batch, contract)}, version)

    def contract(self, model, version=None, *, label=None, timeout=None):
        self.contract_reads += 1
        return self.versions[self._version(model, version, label)]

    def status(self, model, version=None, *, label=None, timeout=None):
        self._version(model, None)
        return [VersionStatus(v, "AVAILABLE", "") for v in sorted(self.versions, reverse=True)]

    def classify(self, model, examples, *, version=None, label=None, signature="", timeout=None):
        response = ClassificationResponse()
        response.model_spec.version.value = self._version(model, version, label)
        for value in _values(examples):
            classes = response.result.classifications.add().classes
            classes.add(label="cold", score=-value)
            classes.add(label=signature or "warm", score=value)
        return response

    def regress(self, model, examples, *, version=None, label=None, signature="", timeout=None):
        response = RegressionResponse()
        response.model_spec.version.value = self._version(model, version, label)
        for value in _values(examples):
            response.result.regressions.add(value=value)
        return response

    def metadata(self, model, version=None, *, label=None, timeout=None):
        self.metadata_reads += 1
        version = self._version(model, version, label)
        spec = self.versions[version].input
        signature = Signature(
            {spec.name: TensorSpec("image:0", np.dtype(np.float32), (-1, *spec.shape))},
            {"probabilities": TensorSpec("p:0", np.dtype(np.float32), (-1, 4))},
        )
        return Metadata(version, {"serving_default": signature_def(signature)})

    def close(self) -> None:
        pass


def _values(examples) -> list[float]:
    """Of each tf.Example its feature `x`."""
    listed = getattr(examples, examples.WhichOneof("kind"))
    context = getattr(listed, "context", b"")
    parsed = [Example.FromString(context + each) for each in listed.examples]
    return [each.features.feature["x"].float_list.value[0] for each in parsed]


def toy_probabilities(batch: np.ndarray, contract: Contract) -> np.ndarray:
    share = batch.reshape(len(batch), -1).mean(axis=1, keepdims=True)
    rest = (1 - share) / (len(contract.labels) - 1)
    return np.concatenate([share] + [rest] * (len(contract.labels) - 1), axis=1).astype(np.float32)


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def config() -> GatewayConfig:
    return GatewayConfig(
        upstream="unused",
        models=("toy",),
        max_body_bytes=200_000,
        max_pixels=1_000_000,
        max_instances=8,
    )


@pytest.fixture
def http(server, config):
    return create_app(config, server).test_client()


@pytest.fixture(scope="module")
def http_forever():
    """One client for all examples of a property, with the limits of `config`."""
    limits = {"max_body_bytes": 200_000, "max_pixels": 1_000_000, "max_instances": 8}
    config = GatewayConfig(upstream="unused", models=("toy",), **limits)
    return create_app(config, FakeServer()).test_client()
