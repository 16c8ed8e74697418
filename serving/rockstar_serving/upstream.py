"""Whom the gateway of `rockstar serve` asks: an embedded model server, or a TensorFlow Serving."""

import contextlib
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rockstar_serving.listening import host_and_port, reachable, require_free
from rockstar_serving.model_folder import ModelFolderError, find_models, model_config, strays
from rockstar_serving.models_config import declared
from rockstar_serving.serve_options import ServeOptions
from rockstar_serving.supervisor import Child, ServeError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Upstream:
    """What answers the gateway.

    Attributes:
        models: their names.
        grpc: tells the host:port of its gRPC API, as this machine reaches it; once it is ready.
        rest: tells the host:port of its REST API, once it is ready; None where it runs elsewhere.
        config: the model server's configuration, by which gateway workers run models themselves.
        children: the processes to run before the gateway.
        refresh: looks for models that are new or gone; to be called now and then.
    """

    models: tuple[str, ...]
    grpc: Callable[[], str]
    rest: Callable[[], str | None]
    config: Path | None = None
    children: tuple[Child, ...] = ()
    refresh: Callable[[], None] = lambda: None


def embedded(options: ServeOptions, folder: Path) -> Upstream:
    """A model server of our own.

    Args:
        options: what to serve and where.
        folder: empty; gets the server's files.

    Raises:
        ServeError: there is no such model, or a port is taken.
    """
    models, config = _models_to_serve(options)
    require_free(options.host, options.grpc_port, "--grpc-port")
    require_free(options.host, options.rest_port, "--rest-port")
    server = _EmbeddedServer(options, config, folder)
    return Upstream(
        models=models,
        grpc=server.grpc_address,
        rest=lambda: server.addresses()["rest"],
        # Gateway workers run what they can themselves: no hop, and no copy on the way.
        config=server.config,
        children=(Child("model server", server.command, server.is_ready),),
        refresh=server.refresh,
    )


def elsewhere(options: ServeOptions, tfserving: str) -> Upstream:
    """A TensorFlow Serving that is there already, or will be.

    Args:
        options: says which models it hosts.
        tfserving: its host:port.

    Raises:
        ServeError: the address is none, or no models are named.
    """
    address = host_and_port(tfserving)
    return Upstream(_models_elsewhere(options), grpc=lambda: address, rest=lambda: None)


class _EmbeddedServer:
    """The embedded model server as a child: its files, its command, its addresses."""

    def __init__(self, options: ServeOptions, config: str, folder: Path) -> None:
        self._options = options
        self._addresses = folder / "addresses.json"
        self.config = folder / "models.config"
        self._text = config
        self.config.write_text(config)
        self._told: set[str] = set()
        self._report_strays()
        self._known: dict[str, str] = {}
        self._started = False

    def command(self) -> list[str]:
        """Ports that were picked once are kept: callers know them."""
        grpc = self._options.grpc_port or _port(self.addresses().get("grpc"))
        rest = self._options.rest_port or _port(self.addresses().get("rest"))
        self._addresses.unlink(missing_ok=True)
        # Once in service, a model that was damaged meanwhile must not take the others down.
        strict, self._started = self._options.require_all_models and not self._started, True
        return [
            *(sys.executable, "-m", "rockstar_serving.model_server"),
            f"--model_config_file={self.config}",
            "--model_config_file_poll_wait_seconds=1",
            "--prefer_tflite_model=true",
            # Gateway workers run the models; it is asked only by those who call it directly.
            "--litert_on_demand=true",
            f"--host={self._options.host}",
            f"--port={grpc}",
            f"--rest_api_port={rest}",
            f"--address_file={self._addresses}",
            f"--require_all_models={str(strict).lower()}",
            "--wait_for_models=false",
            f"--log_format={self._options.log_format}",
            "--allow_version_labels_for_unavailable_models",
        ]

    def refresh(self) -> None:
        """Have the models served that the folder holds by now, with their labels."""
        try:
            _, config = _models_to_serve(self._options, at_start=False)
        except ServeError as error:
            self._tell(f"{error}; what was served before stays")
            return
        self._report_strays()
        if config != self._text:
            new = self.config.with_suffix(".new")
            try:
                new.write_text(config)
                new.replace(self.config)
            except OSError as error:
                self._tell(f"{self.config} cannot be written ({error.strerror}): changes wait")
                return
            self._text = config

    def _report_strays(self) -> None:
        with contextlib.suppress(OSError):
            for sentence in strays(self._options.models):
                self._tell(sentence)

    def _tell(self, sentence: str) -> None:
        """Once, not at each look."""
        if sentence not in self._told:
            self._told.add(sentence)
            log.warning("%s", sentence)

    def is_ready(self) -> bool:
        """The server writes its addresses when it is ready."""
        return self._addresses.exists()

    def grpc_address(self) -> str:
        """Where this machine reaches the gRPC API."""
        host, _, port = self.addresses()["grpc"].rpartition(":")
        return f"{reachable(host)}:{port}"

    def addresses(self) -> dict[str, str]:
        """The last known host:port of "grpc" and "rest"; empty until it is ready."""
        with contextlib.suppress(FileNotFoundError):
            self._known = json.loads(self._addresses.read_text())
        return self._known


def _models_to_serve(
    options: ServeOptions, *, at_start: bool = True
) -> tuple[tuple[str, ...], str]:
    """The names of the models, and the model server's configuration."""
    try:
        models = find_models(options.models)
        labelled = declared(options.models)
    except ModelFolderError as error:
        raise ServeError(str(error)) from error
    missing = sorted(set(options.only) - set(models))
    if missing and at_start:
        raise ServeError(
            f"{options.models} holds no model {', '.join(missing)}; it holds {', '.join(models)}"
        )
    chosen = {n: path for n, path in models.items() if not options.only or n in options.only}
    return tuple(chosen), model_config(chosen, labelled)


def _models_elsewhere(options: ServeOptions) -> tuple[str, ...]:
    """The names to list; TensorFlow Serving has no call that would tell them."""
    if options.only:
        return tuple(dict.fromkeys(options.only))
    try:
        return tuple(find_models(options.models))
    except ModelFolderError as error:
        raise ServeError(
            f"name the models that {options.tfserving} hosts with --model ({error})"
        ) from error


def _port(address: str | None) -> str:
    return "auto" if address is None else address.rpartition(":")[2]
