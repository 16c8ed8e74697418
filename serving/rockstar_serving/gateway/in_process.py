"""Models that run in the gateway's own process, which saves a call and a copy."""

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

from rockstar_client.backend import Backend, Metadata, Query, TensorResponse, VersionStatus
from rockstar_client.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    NotFoundError,
    UnavailableError,
    call_error,
)
from rockstar_client.tfserving_messages import contract_in, contract_query, is_not_found
from rockstar_contract.contract import Contract
from rockstar_contract.version_folders import served_versions
from rockstar_serving.gateway.backends import BackendWrapper
from rockstar_serving.gateway.state import ServedModels
from rockstar_serving.model_server.core import Core, PredictQuery
from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline, WouldBlockError
from rockstar_serving.model_server.engines.engine import Engine, ServableId, UnsupportedModelError
from rockstar_serving.model_server.engines.litert import RUNTIME
from rockstar_serving.model_server.engines.tensorflow import RUNTIME as TENSORFLOW
from rockstar_serving.model_server.loading import VersionLoader
from rockstar_serving.model_server.models.config import (
    ConfigError,
    ConfigFileWatcher,
    read_config_file,
)
from rockstar_serving.model_server.models.folder_stability import Fingerprint, fingerprint
from rockstar_serving.model_server.models.manager import Manager, StartError
from rockstar_serving.model_server.options import EngineOptions, LoadOptions, ServerOptions
from tfs_api.model_ref import ModelRef
from tfs_api.signature import Signature, signature_def_map
from tfs_api.status import Code, StatusError

# Seconds between two checks of the models.config.
CONFIG_POLL_S = 1.0

Result = TypeVar("Result")

log = logging.getLogger(__name__)


class InProcessBackend(BackendWrapper):
    """A backend that runs the LiteRT files of models, and forwards other calls to a model server.

    Calls to models that are not loaded, or have no LiteRT file, are also forwarded.
    """

    def __init__(
        self, backend: Backend, config: Path, load: "LiteRTLoader", served: ServedModels
    ) -> None:
        """Load the models of a models.config, and follow its changes; `close` unloads them.

        `backend` is the model server, and `served` gets the names of the models.
        """
        super().__init__(backend)
        options = LoadOptions(
            require_all_models=False, wait_for_models=False, allow_labels_for_unavailable=True
        )
        self._manager = Manager(read_config_file(config), load, options)
        self._core = Core(self._manager)
        try:
            self._manager.start()
        except StartError as error:
            log.warning("no model runs in this process: %s", error)
        self._watcher = ConfigFileWatcher(
            config,
            self._manager,
            CONFIG_POLL_S,
            labels_may_wait=True,
            reloaded=lambda: served.replace(each.name for each in self._manager.configs),
        )
        self._watcher.start()

    def predict(self, query: Query) -> TensorResponse:
        """See Backend."""
        return self._run_here(query, Deadline.after(query.timeout)) or super().predict(query)

    def predict_now(self, query: Query) -> TensorResponse:
        """See BackendWrapper."""
        response = self._run_here(query, Deadline(may_block=False))
        if response is None:
            raise WouldBlockError
        return response

    def contract(self, query: Query) -> Contract:
        """See Backend; of the same version that `predict` would run."""
        try:
            response = self._run_here(contract_query(query), Deadline.after(query.timeout))
        except InvalidRequestError:
            # The model has no contract: the model server explains the error.
            response = None
        return contract_in(response, query.model) if response else super().contract(query)

    def metadata(self, query: Query) -> Metadata:
        """See Backend; of the same version that `predict` would run."""
        found = self._here(lambda: self._core.metadata(_ref(query)))
        if found is None:
            return super().metadata(query)
        version, signatures = found
        return Metadata(version, dict(signature_def_map(signatures).signature_def))

    def status(self, query: Query) -> list[VersionStatus]:
        """See Backend; while the model server is away, of the versions in this process."""
        try:
            return super().status(query)
        except (UnavailableError, DeadlineExceededError):
            found = self._here(lambda: self._core.status(_ref(query)))
            if found is None:
                raise
        return [
            VersionStatus(each.version, each.state.name, each.message, each.code) for each in found
        ]

    def _run_here(self, query: Query, deadline: Deadline) -> TensorResponse | None:
        """Run a version that is loaded here; None if there is no such version."""
        run = PredictQuery(lambda _: query.inputs, query.signature, query.outputs, deadline)
        found = self._here(lambda: self._core.predict(_ref(query), run))
        return TensorResponse(found[1].outputs, found[0]) if found else None

    def _here(self, call: Callable[[], Result]) -> Result | None:
        """The result of a call of the core; None if no such version is loaded here."""
        try:
            return call()
        except StatusError as error:
            failure = call_error(error.code, error.message)
            if is_not_found(failure):
                return None
            raise failure from error
        except WouldBlockError:
            raise
        except Exception as error:  # an engine may raise anything
            log.exception("a model failed")
            raise call_error(Code.INTERNAL, "internal error") from error

    def close(self) -> None:
        """See Backend."""
        self._watcher.stop()
        self._manager.stop()
        super().close()


def _ref(query: Query) -> ModelRef:
    return ModelRef(query.model, query.version, query.label)


class LiteRTLoader:
    """Loads the versions that LiteRT can run; a Loader."""

    def __init__(self, interpreters: int) -> None:
        """Create a loader; `interpreters` are the concurrent runs of a version."""
        engine = EngineOptions(prefer_tflite=True, litert_pools=interpreters)
        self._load = VersionLoader(ServerOptions((), engine=engine), runtimes=[RUNTIME])
        self._preloaded: dict[Path, tuple[Fingerprint, Engine]] = {}

    def preload(self, config: Path) -> None:
        """Load the versions of a models.config before workers are forked, which share them."""
        loaded = {}
        # Workers load, and report, what fails here.
        with contextlib.suppress(ConfigError):
            for model in read_config_file(config):
                with contextlib.suppress(Exception):
                    folders = served_versions(model.base_path)
                    for version in model.policy.choose(folders):
                        folder = folders[version]
                        seen = fingerprint(folder)
                        loaded[folder] = seen, self(ServableId(model.name, version), folder)
        self._preloaded = loaded

    def __call__(self, servable_id: ServableId, folder: Path) -> Engine:
        """Load a version, unless it is loaded already; see Loader."""
        if folder in self._preloaded:
            seen, engine = self._preloaded.pop(folder)
            if seen == fingerprint(folder):
                return engine
        if not RUNTIME.file_in(folder) and TENSORFLOW.file_in(folder):
            return _NotLoaded()
        try:
            return self._load(servable_id, folder)
        except UnsupportedModelError:
            return _NotLoaded()


class _NotLoaded:
    """Stands for a version that only the model server can run; an Engine."""

    name = "the model server"

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Raises a NotFoundError, so that the call is forwarded."""
        raise NotFoundError(Code.NOT_FOUND, "only the model server can run this version")

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
