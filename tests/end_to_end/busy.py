"""A service that is busy for one request."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import requests

# Headers that are of one connection or one message.
OWN = {
    *("Connection", "Content-Encoding", "Content-Length", "Date", "Host", "Http2-Settings"),
    *("Server", "Upgrade"),
}


@dataclass
class Busy:
    """A server that has no time at first, then passes on to a gateway.

    Attributes:
        url: its own.
        came: when each request came, in monotonic seconds.
    """

    url: str
    came: list[float]


@contextmanager
def busy_at_first(gateway: str) -> Iterator[Busy]:
    """Answers the first request with 429, Retry-After: 1."""
    came: list[float] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            came.append(time.monotonic())
            if len(came) == 1:
                problem = json.dumps({"status": 429, "detail": "busy"}).encode()
                headers = {"Content-Type": "application/problem+json", "Retry-After": "1"}
                self.answer(429, headers, problem)
                return
            headers = {name: text for name, text in self.headers.items() if name.title() not in OWN}
            said = requests.post(gateway + self.path, body, headers=headers, timeout=20)
            self.answer(said.status_code, said.headers, said.content)

        def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, text in headers.items():
                if name.title() not in OWN:
                    self.send_header(name, text)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield Busy(f"http://127.0.0.1:{server.server_port}", came)
    server.shutdown()
    thread.join()
    server.server_close()
