"""HTTP servers in a thread."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from typing import Any

from werkzeug.serving import make_server


class Handler(BaseHTTPRequestHandler):
    """Logs nothing."""

    def respond(self, status: int, body: bytes = b"", headers: Mapping[str, str] = {}) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(server: HTTPServer) -> Iterator[str]:
    """Run a server in a thread; yields its HOST:PORT."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def handled_by(handler: Any) -> Iterator[str]:
    """The URL of a server whose requests a handler class handles."""
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as address:
        yield f"http://{address}"


@contextmanager
def application(app: Any) -> Iterator[str]:
    """The URL of a WSGI application."""
    with serving(make_server("127.0.0.1", 0, app, threaded=True)) as address:
        yield f"http://{address}"
