"""All models: start-up, reloading, and the servable for a request."""

import contextlib
import logging
import os
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial

from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline, DeadlineExceededError
from rockstar_serving.model_server.engines.engine import Loader
from rockstar_serving.model_server.models.config import ConfigError, ModelConfig
from rockstar_serving.model_server.models.keeper import Keeper
from rockstar_serving.model_server.models.labels import Labels
from rockstar_serving.model_server.models.model import Model, Outlook
from rockstar_serving.model_server.models.servable import Servable, VersionStatus
from rockstar_serving.model_server.options import LoadOptions
from rockstar_serving.model_server.storage.mirror import Mirrors
from tfs_api.model_ref import ModelRef
from tfs_api.status import Code, StatusError

log = logging.getLogger(__name__)

# As many as TensorFlow Serving has for the first load (num_initial_load_threads).
_INITIAL_LOAD_THREADS = 4 * (os.cpu_count() or 1)
# How often the log says what the start waits for.
_REMINDER_SECONDS = 60.0


class StartError(Exception):
    """The server cannot start; the message says why."""


class Manager:
    """Keeps models loaded and hands out their servables."""

    def __init__(
        self,
        configs: Sequence[ModelConfig],
        load: Loader,
        options: LoadOptions = LoadOptions(),  # noqa: B008 (frozen)
    ) -> None:
        """Make a manager; start() loads the models.

        Args:
            configs: the models.
            load: makes the engine of a version folder.
            options: when.
        """
        self._configs = tuple(configs)
        self._load = load
        self._options = options
        self._labels = Labels(allow_unavailable=options.allow_labels_for_unavailable)
        self._keeper = Keeper(options, _INITIAL_LOAD_THREADS)
        self._mirrors = Mirrors(options)
        self._reloading = threading.Lock()
        # Models that were removed stay, because their versions can be asked for their states.
        self._models: Mapping[str, Model] = {}

    @property
    def configs(self) -> tuple[ModelConfig, ...]:
        """What is served."""
        return self._configs

    def start(self) -> None:
        """Load all models, then watch their folders.

        Raises:
            StartError: of some model, or of every one where not all are required, no version could
                be loaded, and it is not to wait for one; or a label stands for a version before it
                is loaded.
        """
        try:
            self._labels.assign(self._configs, lambda _: ())
        except StatusError as error:
            raise StartError(
                f"{error.message}: labels can be given at the start only with "
                "--allow_version_labels_for_unavailable_models"
            ) from error
        models = self._configure(self._configs)
        self._keeper.start()
        self._keeper.wait(lambda: all(model.outlook != Outlook.BUSY for model in models))
        if self._options.wait_for_models:
            self._wait_for(models)
        self._keeper.loaded_first()
        troubles = [model.trouble() for model in models if not model.shelf.available()]
        if troubles and (self._options.require_all_models or len(troubles) == len(models)):
            self.stop()
            raise StartError("\n".join(troubles))
        self._warn_of_labels()

    def reload(
        self,
        configs: Sequence[ModelConfig],
        deadline: Deadline = NO_DEADLINE,
        *,
        wait: bool = False,
    ) -> None:
        """Serve these models instead, as TensorFlow Serving's ReloadConfig does.

        Labels change at once. Models that are new are waited for; those that were served before
        change behind: what they served stays until the versions now asked for are loaded.

        Args:
            configs: all models from now on.
            deadline: until when the caller waits.
            wait: whether it does so for versions that are not there yet, if the start does.

        Raises:
            StatusError: FAILED_PRECONDITION, a label stands for a version that is not available,
                and nothing has changed; UNKNOWN, a new model has no version that loads, and the
                others are served, as the new one will be when it does; DEADLINE_EXCEEDED.
        """
        with self._reloading:
            self._labels.assign(configs, self._available)
            known = {config.name for config in self._configs}
            self._configs = tuple(configs)
            log.info("serving from now on: %s", ", ".join(c.name for c in configs) or "no model")
            try:
                new = [model for model in self._configure(configs) if model.name not in known]
            except ConfigError as error:
                raise StatusError(Code.FAILED_PRECONDITION, str(error)) from error
        # Not in the lock: a version that loads slowly holds up no other reload.
        patient = wait and self._options.wait_for_models
        self._keeper.wait(lambda: _decided(new, patient=patient), deadline)
        self._warn_of_labels()
        unavailable = [model for model in new if not model.shelf.available()]
        if unavailable:
            for model in unavailable:
                log.error("%s", model.trouble())
            raise StatusError(Code.UNKNOWN, _not_available(unavailable))

    def stop(self) -> bool:
        """Stop watching and unload everything.

        Returns:
            Whether nothing is being loaded any more.
        """
        finished = self._mirrors.stop()
        finished = self._keeper.stop() and finished
        for model in self._models.values():
            model.shelf.close()
        self._keeper.close()
        return finished

    def servable(self, ref: ModelRef) -> Servable:
        """The servable that answers a request, kept loaded until the end of a with block.

        Raises:
            StatusError: NOT_FOUND, no such model or version is available; INVALID_ARGUMENT, an
                unknown label.
        """
        if not ref.name:
            raise StatusError(Code.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        return self._find(ref)

    def statuses(self, ref: ModelRef) -> list[VersionStatus]:
        """Of the versions of a model, or of the one asked for by its number; the highest first.

        A label is ignored, as in TensorFlow Serving (`get_model_status_impl.cc`).

        Raises:
            StatusError: NOT_FOUND, no such model or version.
        """
        version = ref.version
        model = self._models.get(ref.name)
        statuses = model.shelf.statuses() if model else []
        if version is not None:
            statuses = [status for status in statuses if status.version == version]
            if not statuses:
                raise StatusError(
                    Code.NOT_FOUND, f"Could not find version {version} of model {ref.name}"
                )
        if not statuses:
            raise StatusError(Code.NOT_FOUND, f"Could not find any versions of model {ref.name}")
        return statuses

    def _find(self, ref: ModelRef) -> Servable:
        while True:
            version = self._resolve(ref)
            model = self._models.get(ref.name)
            servable = model.shelf.find(version) if model else None
            if servable is not None:
                return servable
            # A label may have moved while its version was looked for, and that version gone.
            if ref.label is None or self._resolve(ref) == version:
                break
        wanted = f"Latest({ref.name})" if version is None else f"Specific({ref.name}, {version})"
        raise StatusError(Code.NOT_FOUND, f"Servable not found for request: {wanted}")

    def _resolve(self, ref: ModelRef) -> int | None:
        return ref.version if ref.label is None else self._labels.version(ref.name, ref.label)

    def _configure(self, configs: Iterable[ModelConfig]) -> list[Model]:
        """Tell all models what they are to serve from now on; gives those that are to serve."""
        wanted = {
            config.name: self._mirrors.local(
                config, partial(self._statuses, config.name), partial(self._refresh, config.name)
            )
            for config in configs
        }
        self._mirrors.keep(wanted)
        models = dict(self._models)
        for name, model in models.items():
            if model.config != wanted.get(name):
                model.configure(wanted.get(name))
        for name in wanted.keys() - models.keys():
            models[name] = Model(wanted[name], self._load, self._options, self._keeper.unload)
        self._models = models
        self._keeper.keep(models.values())
        return [models[name] for name in wanted]

    def _wait_for(self, models: Sequence[Model]) -> None:
        """Wait for the first versions, as TensorFlow Serving does, and log what for.

        It returns early where a model is known to fail that is required.
        """
        reported: list[str] = []

        def done() -> bool:
            outlooks = [model.outlook for model in models]
            enough = all if self._options.require_all_models else any
            return (
                enough(outlook == Outlook.AVAILABLE for outlook in outlooks)
                or (self._options.require_all_models and Outlook.FAILED in outlooks)
                or all(outlook == Outlook.FAILED for outlook in outlooks)
            )

        def missing() -> list[str]:
            waited_for = (Outlook.AWAITED, Outlook.RETRIED)
            return [model.trouble() for model in models if model.outlook in waited_for]

        def news() -> bool:
            return done() or missing() != reported

        while not done():
            reported[:] = missing()
            for trouble in reported:
                log.warning("waiting for %s", trouble)
            with contextlib.suppress(DeadlineExceededError):
                self._keeper.wait(news, Deadline.after(_REMINDER_SECONDS))

    def _statuses(self, name: str) -> Collection[VersionStatus]:
        model = self._models.get(name)
        return model.shelf.statuses() if model else ()

    def _refresh(self, name: str) -> None:
        if model := self._models.get(name):
            model.refresh()
            self._keeper.wake()

    def _available(self, name: str) -> Collection[int]:
        model = self._models.get(name)
        return model.shelf.available() if model else ()

    def _warn_of_labels(self) -> None:
        for config in self._configs:
            for label, version in config.labels.items():
                if version not in self._available(config.name):
                    log.warning(
                        "model %s: label %r stands for version %d, which is not loaded",
                        *(config.name, label, version),
                    )


def _decided(models: Sequence[Model], *, patient: bool) -> bool:
    """Whether there is nothing to wait for: what can be served is, or one of them fails."""
    outlooks = {model.outlook for model in models}
    if patient and not outlooks & {Outlook.RETRIED, Outlook.FAILED}:
        return outlooks <= {Outlook.AVAILABLE}
    return Outlook.BUSY not in outlooks


def _not_available(models: Sequence[Model]) -> str:
    """In the words of TensorFlow Serving (WaitUntilModelsAvailable in server_core.cc)."""
    parts = []
    for model in models:
        errors = [status for status in model.shelf.statuses() if status.code != Code.OK]
        parts += [
            f"{{{{name: {model.name} version: {status.version}}} due to error: "
            f"{status.code.name}: {status.message}}}, "
            for status in errors
        ] or [f"{{{{name: {model.name}}} due to error: NOT_FOUND: {model.trouble()}}}, "]
    return f"{len(models)} model(s) did not become available: {{{''.join(parts)}}}"
