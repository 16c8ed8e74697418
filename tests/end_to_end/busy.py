"""A service that is busy for one request."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import requests

from tests.http_servers import Handler, handled_by

# Headers of a single connection or message.
OWN = {
    *("Connection", "Content-Encoding", "Content-Length", "Date", "Host", "Http2-Settings"),
    *("Server", "Upgrade"),
}


@dataclass
class Busy:
    """A server that is busy at first, then forwards to a gateway.

    Attributes:
        url: its URL.
        came: times of the requests, in monotonic seconds.
    """

    url: str
    came: list[float]


@contextmanager
def busy_at_first(gateway: str) -> Iterator[Busy]:
    """Rejects the first request with 429, Retry-After: 1."""
    came: list[float] = []

    class BusyAtFirst(Handler):
        def do_POST(self) -> None:  # noqa: N802
            body = self.rfile.read(int(self.headers["Content-Length"]))
            came.append(time.monotonic())
            if len(came) == 1:
                problem = json.dumps({"status": 429, "detail": "busy"}).encode()
                headers = {"Content-Type": "application/problem+json", "Retry-After": "1"}
                self.respond(429, problem, headers)
                return
            headers = {name: text for name, text in self.headers.items() if name.title() not in OWN}
            said = requests.post(gateway + self.path, body, headers=headers, timeout=20)
            kept = {name: text for name, text in said.headers.items() if name.title() not in OWN}
            self.respond(said.status_code, said.content, kept)

    with handled_by(BusyAtFirst) as url:
        yield Busy(url, came)
