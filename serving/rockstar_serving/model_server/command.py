"""The embedded model server as a process: start, signals, exit status."""

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence

from rockstar_contract.text_files import replace_file
from rockstar_serving import logs
from rockstar_serving.model_server.engines.engine import find_runtimes, in_words
from rockstar_serving.model_server.flags import PROGRAM, FlagParser, server_options
from rockstar_serving.model_server.models.config import ConfigError
from rockstar_serving.model_server.models.manager import StartError
from rockstar_serving.model_server.options import ServerOptions
from rockstar_serving.model_server.server import ModelServer

log = logging.getLogger("rockstar_serving.model_server")  # not "__main__"

# Receives the addresses of gRPC and REST, as "host:port"; None if off.
OnReady = Callable[[str | None, str | None], None]


class Signals:
    """Handles SIGTERM and SIGINT: the first stops a running server, the next ends the process."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._clean_up: Callable[[], None] | None = None
        # A thread reads the numbers of signals from a pipe. A handler in Python would run only when
        # the main thread does, and could interrupt a log line that is being written.
        self._numbers, pipe = os.pipe()
        os.set_blocking(pipe, False)
        signal.set_wakeup_fd(pipe, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: None)
        threading.Thread(target=self._handle, name="signals", daemon=True).start()

    def serving(self, clean_up: Callable[[], None]) -> None:
        """Let requests finish at the first signal from now on; until now it ends the process.

        `clean_up` is called before a second signal ends the process.
        """
        self._clean_up = clean_up

    def wait(self) -> None:
        """Wait for the signal to stop."""
        self._stop.wait()

    def _handle(self) -> None:
        while number := os.read(self._numbers, 1)[0]:
            name = signal.Signals(number).name
            if self._clean_up is None:
                log.info("%s while starting: stopped", name)
                _exit_now(0)
            elif self._stop.is_set():
                log.warning("%s again: stopped at once", name)
                self._clean_up()
                _exit_now(128 + number)
            else:
                log.info("%s: stopping, requests in flight finish", name)
                self._stop.set()


def main(
    arguments: Sequence[str] | None = None,
    *,
    program: str = PROGRAM,
    on_ready: OnReady | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT.

    Args:
        arguments: the flags; None: those of this process.
        program: name of the program in messages about invalid flags.
        on_ready: called when the server is ready.

    Returns:
        The exit status: 0 after a stop, 1 if the server cannot start. In other cases the process
        ends here: with 2 for invalid flags, with 128 and the signal's number for a second signal.
    """
    given = FlagParser(program).parse(sys.argv[1:] if arguments is None else arguments)
    logs.configure(given.log_format, PROGRAM)
    signals = Signals()
    try:
        return _serve(server_options(given), signals, on_ready)
    except (ConfigError, StartError) as error:
        for line in str(error).splitlines():
            log.error("cannot start: %s", line)
        return 1


def _serve(options: ServerOptions, signals: Signals, on_ready: OnReady | None) -> int:
    file = options.address_file

    def remove_address_file() -> None:
        if file is not None:
            file.unlink(missing_ok=True)

    log.info("engine of a version: %s", in_words(options.engine, find_runtimes()))
    server = ModelServer(options)
    server.start()
    signals.serving(remove_address_file)
    if file is not None:
        addresses = {"grpc": server.grpc_address, "rest": server.rest_address, "pid": os.getpid()}
        try:
            replace_file(file, json.dumps(addresses).encode() + b"\n")
        except OSError as error:
            server.stop(grace=0)
            raise StartError(f"--address_file {file}: {error.strerror}") from error
    if on_ready is not None:
        on_ready(server.grpc_address, server.rest_address)
    signals.wait()
    finished = server.stop()
    remove_address_file()
    log.info("stopped" if finished else "stopped, though some requests had not finished")
    if not finished:
        _exit_now(0)
    return 0


def _exit_now(status: int) -> None:
    """End the process without waiting for its threads, some of which may never end."""
    logging.shutdown()
    os._exit(status)
