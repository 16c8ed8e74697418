import asyncio
import copy
import dataclasses
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
import pytest

from rockstar_client.backend import Metadata, Query, TensorResponse, VersionStatus
from rockstar_client.errors import call_error
from rockstar_contract.contract import Contract
from rockstar_serving.gateway.app import create_app
from rockstar_serving.gateway.context import RequestContext
from rockstar_serving.gateway.observers import Comparison, Observer
from rockstar_serving.gateway.settings import GatewayConfig
from tests.contracts import make_contract
from tests.images import png, stroke
from tests.rsgi_client import RsgiApp, event_loop
from tests.table_models import regression, table_classifier
from tfs_api.messages.example_pb2 import Example
from tfs_api.messages.inference_pb2 import ClassificationResponse, RegressionResponse
from tfs_api.signature import Signature, TensorSpec, signature_def
from tfs_api.status import Code

LIMITED = GatewayConfig(
    upstream="unused",
    models=("toy", "table", "number"),
    max_body_bytes=200_000,
    max_pixels=1_000_000,
    max_instances=8,
)


IMAGE = png(stroke())


def post(http, path="/predict/toy", data=IMAGE, **headers):
    """Post an image; "_" in header names stands for "-"."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return http.post(path, data=data, content_type="image/png", headers=named)


class Notes(Observer):
    """Records events."""

    def __init__(self) -> None:
        self.refusals: list[str] = []
        self.answers: list[tuple[RequestContext, int]] = []
        self.batches: list[int] = []
        self.comparisons: list[Comparison] = []

    def refused(self, why):
        self.refusals.append(why)

    def answered(self, context, status):
        self.answers.append((copy.copy(context), status))

    def joined(self, model, requests):
        self.batches.append(requests)

    def shadowed(self, comparison):
        self.comparisons.append(comparison)


class FakeServer:
    """A fake model server of a toy model, as the gateway's backend.

    It returns a distribution that depends on the input, so that tests detect mixed-up rows; other
    models can be added.
    """

    def __init__(self, **others: Contract) -> None:
        self.versions: dict[int, Contract] = {1: make_contract()}
        self.others = others
        self.labels: dict[str, int] = {}
        self.failure: Exception | None = None
        self.batches: list[np.ndarray] = []
        self.timeouts: list[float] = []
        self.contract_reads = 0
        self.metadata_reads = 0
        self.lock = threading.Lock()
        self.proceed = threading.Event()
        self.proceed.set()
        # Versions that respond only once they may proceed.
        self.hold = {1}
        self.entered = 0

    @classmethod
    def of_all_kinds(cls) -> "FakeServer":
        """A server with an image classifier, a table classifier and a regression."""
        return cls(table=table_classifier(), number=regression())

    def _versions(self, model: str) -> dict[int, Contract]:
        return {1: self.others[model]} if model in self.others else self.versions

    def _version(self, query: Query) -> int:
        model, version, label = query.model, query.version, query.label
        if self.failure:
            raise self.failure
        if model not in ("toy", *self.others):
            raise call_error(Code.NOT_FOUND, f"Servable not found for request: Latest({model})")
        if label is not None:
            if label not in self.labels:
                raise call_error(Code.NOT_FOUND, f"Unrecognized servable version label: {label}")
            version = self.labels[label]
        versions = self._versions(model)
        if version is not None and version not in versions:
            raise call_error(Code.NOT_FOUND, f"Servable not found for request: Specific({version})")
        return max(versions) if version is None else version

    def predict(self, query):
        version = self._version(query)
        contract = self._versions(query.model)[version]
        inputs, outputs = query.inputs, query.outputs
        if query.signature not in ("", "serving_default"):
            raise call_error(
                Code.INVALID_ARGUMENT, f'Serving signature name: "{query.signature}" not found'
            )
        batch = inputs.get(contract.input.name)
        if batch is None or batch.dtype != np.float32 or batch.shape[1:] != contract.input.shape:
            raise call_error(Code.INVALID_ARGUMENT, "input does not match signature")
        if len(inputs) > 1 or set(outputs) - {contract.output} or len(outputs) > 1:
            raise call_error(Code.INVALID_ARGUMENT, "names do not match signature")
        with self.lock:
            self.batches.append(batch)
            self.timeouts.append(query.timeout)
            self.entered += 1
        if version in self.hold:
            assert self.proceed.wait(30)
        # Its outputs may be infinite, like a model's.
        with np.errstate(all="ignore"):
            regression = contract.task == "regression"
            answer = (
                batch.sum(axis=1, keepdims=True)
                if regression
                else toy_probabilities(batch, contract)
            )
        return TensorResponse({contract.output: answer}, version)

    def contract(self, query):
        self.contract_reads += 1
        return self._versions(query.model)[self._version(query)]

    def status(self, query):
        picked = self._version(query)
        newest = query.version is None and query.label is None
        known = self._versions(query.model) if newest else [picked]
        return [VersionStatus(v, "AVAILABLE", "") for v in sorted(known, reverse=True)]

    def classify(self, query):
        response = ClassificationResponse()
        response.model_spec.version.value = self._version(query)
        for value in _values(query.examples):
            classes = response.result.classifications.add().classes
            classes.add(label="cold", score=-value)
            classes.add(label=query.signature or "warm", score=value)
        return response

    def regress(self, query):
        response = RegressionResponse()
        response.model_spec.version.value = self._version(query)
        for value in _values(query.examples):
            response.result.regressions.add(value=value)
        return response

    def metadata(self, query):
        self.metadata_reads += 1
        version = self._version(query)
        contract = self._versions(query.model)[version]
        spec, float32 = contract.input, np.dtype(np.float32)
        signature = Signature(
            {spec.name: TensorSpec("image:0", float32, (-1, *spec.shape))},
            {contract.output: TensorSpec("p:0", float32, (-1, contract.output_width))},
        )
        return Metadata(version, {"serving_default": signature_def(signature)})

    def close(self) -> None:
        pass


def _values(examples) -> list[float]:
    """The feature `x` of each tf.Example."""
    listed = getattr(examples, examples.WhichOneof("kind"))
    context = getattr(listed, "context", b"")
    parsed = [Example.FromString(context + each) for each in listed.examples]
    values = [each.features.feature["x"].float_list.value for each in parsed]
    if not all(values):
        raise call_error(Code.INVALID_ARGUMENT, "Could not parse example input")
    return [value[0] for value in values]


def toy_probabilities(batch: np.ndarray, contract: Contract) -> np.ndarray:
    share = batch.reshape(len(batch), math.prod(batch.shape[1:])).mean(axis=1, keepdims=True)
    rest = (1 - share) / (len(contract.labels) - 1)
    return np.concatenate([share] + [rest] * (len(contract.labels) - 1), axis=1).astype(np.float32)


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def config() -> GatewayConfig:
    return dataclasses.replace(LIMITED, models=("toy",))


@pytest.fixture(scope="session")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with event_loop() as loop:
        yield loop


@pytest.fixture(scope="module", params=["flask", "rsgi"])
def create_gateway(request, loop) -> Iterator[Callable[..., Any]]:
    """Creates gateways on each host; takes the arguments of create_app."""
    with ExitStack() as apps:
        yield (
            create_app
            if request.param == "flask"
            else lambda *arguments, **options: apps.enter_context(
                closing(RsgiApp(loop, *arguments, **options))
            )
        )


@pytest.fixture
def http(server, config, create_gateway):
    return create_gateway(config, server).test_client()


@pytest.fixture(scope="module")
def shared_http(create_gateway):
    """One client for all tests and examples that leave the gateway as it was."""
    return create_gateway(LIMITED, FakeServer.of_all_kinds()).test_client()
