"""An HTTP server that sends a test's bytes."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import msgspec
import numpy as np

from rockstar_contract.contract import label_probabilities
from tests.contracts import LABELS, make_contract

PROBABILITIES = np.array([[0.125, 0.5, 0.25, 0.125]], np.float32)


@dataclass
class Seen:
    """A received request, and its connection."""

    connection: int
    line: str
    headers: dict[str, str]
    body: bytes


def answer(status: str, body: bytes = b"", **headers: str) -> bytes:
    named = {"Content-Length": str(len(body))} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def problem(status: str, detail: str, **headers: str) -> bytes:
    body = json.dumps({"detail": detail, "request_id": "r1"}).encode()
    return answer(status, body, Content_Type="application/problem+json", **headers)


def prediction() -> bytes:
    found = label_probabilities(PROBABILITIES, LABELS, top=2)
    items = [
        msgspec.to_builtins(item) | {"probabilities": row.tolist()}
        for item, row in zip(found, PROBABILITIES, strict=True)
    ]
    document = {
        "model": "toy",
        "version": 2,
        "predictions": items,
        "task": "classification",
        "labels": LABELS,
    }
    return answer("200 OK", json.dumps(document).encode(), Content_Type="application/json")


def contract() -> bytes:
    document = {"predictions": [make_contract(version=2).to_json()]}
    return answer("200 OK", json.dumps(document).encode(), Content_Type="application/json")


@dataclass
class Server:
    """Serves predictions and contracts, after the responses in `first`.

    Each of `first` is a response, b"" to close the connection, or a function that is called with
    the connection.
    """

    first: list[bytes | Callable[[socket.socket], None]] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    url: str = ""
    connections: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, connection: socket.socket) -> None:
        with self.lock:
            self.connections += 1
            number = self.connections
        with connection:
            try:
                stream = connection.makefile("rb")
                while line := stream.readline().decode().strip():
                    if not self._answer(number, line, stream, connection):
                        return
            except (ConnectionError, ssl.SSLError):
                return

    def _answer(self, number: int, line: str, stream, connection: socket.socket) -> bool:
        headers = {}
        while header := stream.readline().decode().strip():
            name, _, value = header.partition(": ")
            headers[name.lower()] = value
        body = stream.read(int(headers.get("content-length", 0)))
        with self.lock:
            self.seen.append(Seen(number, line, headers, body))
            planned = self.first.pop(0) if self.first else None
        if planned is None:
            planned = contract() if ":predict" in line else prediction()
        if callable(planned):
            planned(connection)
            return False
        connection.sendall(planned)
        return bool(planned)


@contextmanager
def running(server: Server, context: ssl.SSLContext | None = None) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        scheme = "http" if context is None else "https"
        server.url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
        accepted: list[socket.socket] = []

        def talk(plain: socket.socket) -> None:
            try:
                connection = context.wrap_socket(plain, server_side=True) if context else plain
            except (OSError, ssl.SSLError):
                plain.close()
                return
            accepted.append(connection)
            server.serve(connection)

        def accept() -> None:
            while True:
                try:
                    plain, _ = listener.accept()
                except OSError:
                    return
                accepted.append(plain)
                threading.Thread(target=talk, args=(plain,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            for connection in accepted:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()
