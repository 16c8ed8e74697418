"""Log lines of a server: text, or JSON with one object per line."""

import logging
import os
import sys
import time
from typing import Literal

LogFormat = Literal["text", "json"]


def configure(log_format: LogFormat, program: str) -> None:
    """Log to standard error, replacing the handlers of an earlier call.

    JSON objects have timestamp (UTC, as ISO 8601), level, logger and message, the fields of `extra`
    in the logging call, and exception: the traceback as one text. Lines of text name the program.
    """
    handler = logging.StreamHandler()
    text = f"%(asctime)s %(levelname)s {program}: %(message)s"
    handler.setFormatter(
        _json() if log_format == "json" else logging.Formatter(text, "%Y-%m-%dT%H:%M:%S")
    )
    # The lines name no thread and no process; the access log takes less time without them.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def replace_closed_streams() -> None:
    """Open /dev/null for the standard streams that are closed, as after `<&- >&- 2>&-`.

    Otherwise the next sockets would get their numbers, and receive what is printed. Call it before
    anything is opened.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # In this order each gets the lowest free number, which is its own.
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def _json() -> logging.Formatter:
    # Imported only if used: it takes ten milliseconds.
    from pythonjsonlogger.json import JsonFormatter

    class Formatter(JsonFormatter):
        converter = staticmethod(time.gmtime)
        default_time_format = "%Y-%m-%dT%H:%M:%S"
        default_msec_format = "%s.%03dZ"

    names = {"asctime": "timestamp", "levelname": "level", "name": "logger"}
    return Formatter(
        [*names, "message"],
        rename_fields={**names, "exc_info": "exception"},
        json_ensure_ascii=False,
    )
