"""Log lines of a server: text for people, or JSON with one object a line for what collects logs."""

import logging
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


def _text(program: str) -> logging.Formatter:
    return logging.Formatter(
        f"%(asctime)s %(levelname)s {program}: %(message)s", datefmt="%Y-%m-%dT%H:%M:%S"
    )


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
