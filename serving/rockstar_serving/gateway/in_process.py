"""Versions that a worker runs itself: no call, no copy, no other process to wait for."""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from numpy.typing import NDArray

from rockstar_client.backend import Backend, TensorResponse
from rockstar_client.errors import InvalidRequestError, call_error
from rockstar_client.tfserving_calls import CONTRACT_QUERY, contract_in
from rockstar_contract.contract import CONTRACT_SIGNATURE, Contract
from rockstar_serving.gateway.backends import BackendWrapper
from rockstar_serving.gateway.state import ServedModels
from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from rockstar_serving.model_server.engines.engine import Engine, ServableId, UnsupportedModelError
from rockstar_serving.model_server.engines.litert import MODEL_FILE, RUNTIME
from rockstar_serving.model_server.loading import VersionLoader
from rockstar_serving.model_server.models.config import ModelConfig
from rockstar_serving.model_server.models.config_file import ConfigFileWatcher, read_config_file
from rockstar_serving.model_server.models.manager import Manager, StartError
from rockstar_serving.model_server.options import EngineOptions, LoadOptions, ServerOptions
from rockstar_serving.model_server.predict import PredictQuery, predict
from tfs_api.model_ref import ModelRef
from tfs_api.signature import DEFAULT_SIGNATURE, Signature
from tfs_api.status import Code, StatusError

# Seconds between looks at the file that says what is served.
CONFIG_POLL_S = 1.0

log = logging.getLogger(__name__)


class InProcess(BackendWrapper):
    """A backend that runs the LiteRT files of models here; all else it leaves to a model server.

    What is not here, or has no LiteRT file, the model server answers, or says why it does not.
    """

    def __init__(
        self, backend: Backend, config: Path, interpreters: int, served: ServedModels
    ) -> None:
        """Load the models; `close` lets go of them.

        Args:
            backend: the model server.
            config: a models.config with what it serves; followed when it changes.
            interpreters: how many requests a version runs at once.
            served: told which models there are.
        """
        super().__init__(backend)
        options = ServerOptions(
            read_config_file(config),
            load=LoadOptions(
                require_all_models=False, wait_for_models=False, allow_labels_for_unavailable=True
            ),
            engine=EngineOptions(prefer_tflite=True, litert_pools=interpreters),
        )
        self._manager = Manager(options.models, _Loader(options), options.load)
        try:
            self._manager.start()
        except StartError as error:
            log.warning("no model runs in this process: %s", error)
        self._watcher = ConfigFileWatcher(
            config, _Following(self._manager, served), CONFIG_POLL_S, labels_may_wait=True
        )
        self._watcher.start()

    def predict(
        self,
        model: str,
        inputs: Mapping[str, NDArray[Any]],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = DEFAULT_SIGNATURE,
        outputs: Sequence[str] = (),
        timeout: float | None = None,
    ) -> TensorResponse:
        """See Backend."""
        asked = _Asked(version, label, signature, outputs, timeout)
        here = self._answer(model, inputs, asked)
        if here is not None:
            return here
        return super().predict(
            model,
            inputs,
            version=version,
            label=label,
            signature=signature,
            outputs=outputs,
            timeout=timeout,
        )

    def contract(
        self,
        model: str,
        version: int | None = None,
        *,
        label: str | None = None,
        timeout: float | None = None,
    ) -> Contract:
        """See Backend; of the very version that `predict` would run."""
        asked = _Asked(version, label, CONTRACT_SIGNATURE, (), timeout)
        with contextlib.suppress(InvalidRequestError):  # it has none: the model server explains
            here = self._answer(model, CONTRACT_QUERY, asked)
            if here is not None:
                return contract_in(here, model)
        return super().contract(model, version, label=label, timeout=timeout)

    def _answer(
        self, model: str, inputs: Mapping[str, NDArray[Any]], asked: "_Asked"
    ) -> TensorResponse | None:
        """What a version that runs here answers; None where it does not."""
        try:
            servable = self._manager.servable(ModelRef(model, asked.version, asked.label))
        except StatusError:
            return None
        with servable:
            if isinstance(servable.engine, _Elsewhere):
                return None
            query = PredictQuery(
                lambda _: inputs, asked.signature, asked.outputs, Deadline.after(asked.timeout)
            )
            return TensorResponse(_outputs(servable.engine, query), servable.id.version)

    def close(self) -> None:
        """See Backend."""
        self._watcher.stop()
        self._manager.stop()
        super().close()


class _Following:
    """Tells which models there are by now, when a changed file is taken up."""

    def __init__(self, manager: Manager, served: ServedModels) -> None:
        self._manager = manager
        self._served = served

    @property
    def configs(self) -> tuple[ModelConfig, ...]:
        """What is served."""
        return self._manager.configs

    def reload(self, configs: Sequence[ModelConfig]) -> None:
        """Serve these models instead; see Manager."""
        try:
            self._manager.reload(configs)
        finally:
            self._served.replace(config.name for config in self._manager.configs)


class _Asked(msgspec.Struct, frozen=True):
    """What a call asks of a model."""

    version: int | None
    label: str | None
    signature: str
    outputs: Sequence[str]
    timeout: float | None


def _outputs(engine: Engine, query: PredictQuery) -> dict[str, NDArray[Any]]:
    try:
        return predict(engine, query).outputs
    except StatusError as error:
        raise call_error(error.code, error.message) from error
    except Exception as error:
        log.exception("a model failed")
        raise call_error(Code.INTERNAL, "internal error") from error


class _Loader:
    """Loads what LiteRT can run; a Loader."""

    def __init__(self, options: ServerOptions) -> None:
        self._load = VersionLoader(options, runtimes=[RUNTIME])

    def __call__(self, servable_id: ServableId, folder: Path) -> Engine:
        if not (folder / MODEL_FILE).is_file():
            return _Elsewhere()
        try:
            return self._load(servable_id, folder)
        except UnsupportedModelError:
            return _Elsewhere()


class _Elsewhere:
    """Stands for a version that only the model server can run; an Engine."""

    name = "the model server"
    signatures: Mapping[str, Signature] = {}

    def run(
        self,
        signature: str,
        feeds: Mapping[str, NDArray[Any]],
        fetches: Sequence[str],
        deadline: Deadline = NO_DEADLINE,
    ) -> dict[str, NDArray[Any]]:
        """Never called."""
        raise NotImplementedError

    def close(self) -> None:
        """See Engine."""
