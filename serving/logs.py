"""Log lines of a server: text for people, or JSON with one object a line for what collects logs."""

import logging
from datetime import UTC, datetime
from typing import Any, Literal

from pythonjsonlogger.json import JsonFormatter

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
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _text(program))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def _text(program: str) -> logging.Formatter:
    return logging.Formatter(
        f"%(asctime)s %(levelname)s {program}: %(message)s", datefmt="%Y-%m-%dT%H:%M:%S"
    )


class _JsonFormatter(JsonFormatter):
    def __init__(self) -> None:
        names = {"levelname": "level", "name": "logger", "exc_info": "exception"}
        super().__init__(
            ["asctime", "levelname", "name", "message"],
            rename_fields={"asctime": "timestamp", **names},
            json_ensure_ascii=False,
        )

    def formatTime(self, record: logging.LogRecord, datefmt: Any = None) -> str:  # noqa: ARG002, N802
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
