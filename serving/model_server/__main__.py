"""`python -m serving.model_server --model_name=cnn --model_base_path=models/cnn`."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence

from serving.model_server.address_file import write_address_file
from serving.model_server.engines.choice import find_runtimes, in_words
from serving.model_server.flags.parser import PROGRAM, Flags, parse_flags
from serving.model_server.models.config import ConfigError
from serving.model_server.models.manager import StartError
from serving.model_server.server import ModelServer

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        The exit status: 0 after a stop, 1 when it cannot start (2 comes from the flags).
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    logging.basicConfig(
        level=logging.INFO,
        format=f"%(asctime)s %(levelname)s {PROGRAM}: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    try:
        flags = parse_flags(sys.argv[1:] if arguments is None else arguments)
        return _serve(flags, stopping)
    except (ConfigError, StartError) as error:
        for line in str(error).splitlines():
            log.error("cannot start: %s", line)
        return 1


def _serve(flags: Flags, stopping: threading.Event) -> int:
    log.info("engine of a version: %s", in_words(flags.options.engine, find_runtimes()))
    server = ModelServer(flags.options)
    server.start()
    if flags.address_file is not None:
        try:
            write_address_file(
                flags.address_file, grpc=server.grpc_address, rest=server.rest_address
            )
        except OSError as error:
            server.stop(grace=0)
            raise StartError(f"--address_file {flags.address_file}: {error.strerror}") from error
    stopping.wait()
    log.info("stopping: requests in flight finish")
    finished = server.stop()
    if flags.address_file is not None:
        flags.address_file.unlink(missing_ok=True)
    log.info("stopped")
    if not finished:
        # The interpreter would wait at its exit for the threads of requests that never end.
        logging.shutdown()
        os._exit(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
