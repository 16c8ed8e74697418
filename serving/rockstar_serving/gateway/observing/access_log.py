"""One log line for each request."""

import logging
import time
from urllib.parse import quote

from flask import Request
from flask.globals import request_ctx

from rockstar_serving.gateway.context import RequestContext
from rockstar_serving.gateway.observer import Observer
from rockstar_serving.gateway.seldom import Seldom

log = logging.getLogger(__name__)


class AccessLog(Observer):
    """Logs each request when it is answered; probes and scrapes now and then where they fail.

    In JSON a line has the fields of `_fields`; in text the most telling of them.
    """

    def __init__(self, quiet: frozenset[str]) -> None:
        """Make a log.

        Args:
            quiet: names of the APIs that are asked so often that success is not worth a line.
        """
        self._quiet = quiet
        self._failed_probes = Seldom(log)

    def answered(self, context: RequestContext, status: int) -> None:
        """See Observer."""
        quiet = context.api in self._quiet
        if quiet and status < 500:
            return
        asked = request_ctx.request
        fields = _fields(asked, context, status)
        text = "%s %s %d %.1f ms %s"
        path, milliseconds = _safe(asked.path), fields["milliseconds"]
        arguments = (asked.method, path, status, milliseconds, context.request_id)
        if quiet:
            self._failed_probes.warn(text, *arguments, extra=fields)
        else:
            level = logging.WARNING if status >= 500 else logging.INFO
            log.log(level, text, *arguments, extra=fields)


def _safe(path: str) -> str:
    """A path without characters that would end a line, or do things to a terminal."""
    return path if path.isprintable() else quote(path)


def _fields(asked: Request, context: RequestContext, status: int) -> dict[str, object]:
    return {
        "request_id": context.request_id,
        "trace_id": context.trace.trace_id,
        "method": asked.method,
        "path": asked.path,
        "status": status,
        "milliseconds": round((time.monotonic() - context.started) * 1000, 3),
        **{
            f"{name}_milliseconds": round(1000 * spent, 3)
            for name, spent in context.spent().items()
        },
        "api": context.api,
        "model": context.model,
        "version": context.version,
        "instances": context.instances,
        "caller": context.caller,
        "remote_address": asked.remote_addr,
    }
