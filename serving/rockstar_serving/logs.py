"""Log lines of a server: text for people, or JSON with one object a line for what collects logs."""

import logging
import os
import sys
import threading
import time
from collections import deque
from typing import Literal, TextIO

LogFormat = Literal["text", "json"]

# How long a line may wait for others, and how many may wait.
_PAUSE_S = 0.02
_MOST_LINES = 10_000
# What a pipe takes as a whole, so that lines of several processes do not mix (PIPE_BUF of Linux).
_CHUNK_BYTES = 4096


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


def write_together() -> None:
    """From now on write lines some at a time, warnings and graver ones at once.

    In a process with many threads a write for each line is dear: it lets another thread run, and
    more lines make their threads wait for one another. Call it after `configure`, in the process
    that logs: a fork would lose lines. A process that is killed loses those of its last moment.
    """
    # No line says them, and they are looked up for each.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if type(handler) is logging.StreamHandler:
            together = _Together(handler.stream)
            together.setFormatter(handler.formatter)
            root.removeHandler(handler)
            root.addHandler(together)


class _Together(logging.StreamHandler):  # type: ignore[type-arg]
    """Collects lines for a thread that writes them."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: deque[str] = deque()
        self._some = threading.Event()
        # A signal may come while the main thread writes, and what handles it may log.
        self._writing = threading.RLock()
        threading.Thread(target=self._write_now_and_then, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line for the thread."""
        try:
            self._lines.append(f"{self.format(record)}\n")
        except Exception:
            self.handleError(record)
            return
        if record.levelno >= logging.WARNING or len(self._lines) > _MOST_LINES:
            self.flush()
        elif not self._some.is_set():
            self._some.set()

    def flush(self) -> None:
        """Write what there is."""
        with self._writing:
            try:
                while self._lines:
                    self.stream.write(self._chunk())
                    self.stream.flush()
            except (OSError, ValueError):  # closed: nowhere is left to say it
                self._lines.clear()

    def _chunk(self) -> str:
        lines = [self._lines.popleft()]
        size = _size(lines[0])
        while self._lines and (size := size + _size(self._lines[0])) <= _CHUNK_BYTES:
            lines.append(self._lines.popleft())
        return "".join(lines)

    def _write_now_and_then(self) -> None:
        while True:
            self._some.wait()
            time.sleep(_PAUSE_S)
            self._some.clear()
            self.flush()


def _size(line: str) -> int:
    return len(line.encode(errors="backslashreplace"))


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
