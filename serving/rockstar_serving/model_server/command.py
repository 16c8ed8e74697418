"""The embedded model server as a process."""

import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial

from rockstar_serving import logs
from rockstar_serving.model_server.address_file import write_address_file
from rockstar_serving.model_server.engines.choice import find_runtimes, in_words
from rockstar_serving.model_server.flags.logging import log_format
from rockstar_serving.model_server.flags.parser import PROGRAM, Flags, parse_flags
from rockstar_serving.model_server.models.config import ConfigError
from rockstar_serving.model_server.models.manager import StartError
from rockstar_serving.model_server.server import ModelServer
from rockstar_serving.model_server.signals import Signals, exit_now

log = logging.getLogger("rockstar_serving.model_server")  # not "__main__"


# Told where gRPC and REST answer, as "host:port"; None where one is off.
OnReady = Callable[[str | None, str | None], None]


def main(
    arguments: Sequence[str] | None = None,
    *,
    program: str = PROGRAM,
    on_ready: OnReady | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT.

    Args:
        arguments: the flags; None is those of this process.
        program: what messages about wrong flags call it.
        on_ready: called when it answers.

    Returns:
        The exit status: 0 after a stop, 1 when it cannot start. Others end the process elsewhere: 2
        for wrong flags, 128 and the signal's number for a signal while it stops.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    logs.configure(log_format(arguments), PROGRAM)
    signals = Signals()
    try:
        return _serve(parse_flags(arguments, program), signals, on_ready)
    except (ConfigError, StartError) as error:
        for line in str(error).splitlines():
            log.error("cannot start: %s", line)
        return 1


def _serve(flags: Flags, signals: Signals, on_ready: OnReady | None) -> int:
    log.info("engine of a version: %s", in_words(flags.options.engine, find_runtimes()))
    server = ModelServer(flags.options)
    server.start()
    signals.serving(partial(_remove_address_file, flags))
    if flags.address_file is not None:
        try:
            write_address_file(
                flags.address_file, grpc=server.grpc_address, rest=server.rest_address
            )
        except OSError as error:
            server.stop(grace=0)
            raise StartError(f"--address_file {flags.address_file}: {error.strerror}") from error
    if on_ready is not None:
        on_ready(server.grpc_address, server.rest_address)
    signals.wait()
    finished = server.stop()
    _remove_address_file(flags)
    log.info("stopped" if finished else "stopped, though some requests had not finished")
    if not finished:
        exit_now(0)
    return 0


def _remove_address_file(flags: Flags) -> None:
    if flags.address_file is not None:
        flags.address_file.unlink(missing_ok=True)
