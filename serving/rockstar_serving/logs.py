"""Log lines of a server: text for people, or JSON with one object a line for what collects logs."""

import logging
import os
import sys
import time
from typing import Literal

LogFormat = Literal["text", "json"]


def configure(log_format: LogFormat, program: str) -> None:
    """Send what is logged to standard error, instead of where an earlier call sent it.

    JSON objects hold timestamp (UTC, as ISO 8601), level, logger and message, what the logging call
    gave as `extra`, and exception: its traceback as one text.

    Args:
        log_format: how a line looks.
        program: named in lines of text.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_json() if log_format == "json" else _text(program))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def replace_closed_streams() -> None:
    """Put /dev/null in the place of standard streams that a program was started without.

    As by `<&- >&- 2>&-`, and by some supervisors. Their numbers would go to the next sockets, and
    what is printed with them. Call it before anything is opened.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # Opened in this order each gets the lowest number that is free: its own.
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


class _Text(logging.Formatter):
    """Makes the time of all the lines of a second once."""

    _second = -1
    _time = ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """See Formatter."""
        second = int(record.created)
        if second != self._second:
            self._time = super().formatTime(record, datefmt)
            self._second = second
        return self._time


def _text(program: str) -> logging.Formatter:
    return _Text(f"%(asctime)s %(levelname)s {program}: %(message)s", datefmt="%Y-%m-%dT%H:%M:%S")


def _json() -> logging.Formatter:
    # Imported only where it is used: every start would take a hundredth of a second longer.
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
