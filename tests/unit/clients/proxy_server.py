"""A proxy for HTTP (forwarded requests and CONNECT) and SOCKS 5 that records requests."""

import base64
import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Proxy:
    """Its address, and records: "GET", "CONNECT" or "SOCKS", the target and the user.

    `names` has addresses of host names that this machine does not know.
    """

    port: int
    password: str = ""
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    def serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            first = client.recv(1, socket.MSG_PEEK)
            server = self._socks(client) if first == b"\x05" else self._http(client)
            if server is not None:
                with server:
                    pipe(client, server)

    def _http(self, client: socket.socket) -> socket.socket | None:
        head = b""
        while b"\r\n\r\n" not in head:
            received = client.recv(65536)
            if not received:
                return None
            head += received
        line, _, rest = head.partition(b"\r\n")
        method, target, version = line.decode().split()
        who = ""
        for header in rest.split(b"\r\n\r\n")[0].split(b"\r\n"):
            if header.lower().startswith(b"proxy-authorization: basic "):
                who = base64.b64decode(header.split()[-1]).decode("latin-1")
        if self.password and who != self.password:
            client.sendall(
                b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
            )
            return None
        if method == "CONNECT":
            self.seen.append(("CONNECT", target, who))
            server = self._connect(target)
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            return server
        parts = urlsplit(target)
        self.seen.append(("GET", parts.netloc, who))
        server = self._connect(parts.netloc)
        server.sendall(
            f"{method} {target.partition(parts.netloc)[2]} {version}\r\n".encode() + rest
        )
        return server

    def _socks(self, client: socket.socket) -> socket.socket:
        methods = client.recv(2)[1]
        offered = client.recv(methods)
        who = ""
        if b"\x02" in offered:
            client.sendall(b"\x05\x02")
            user = client.recv(client.recv(2)[1])
            who = (user + b":" + client.recv(client.recv(1)[0])).decode()
            client.sendall(b"\x01\x00")
        else:
            client.sendall(b"\x05\x00")
        kind = client.recv(4)[3]
        host = (
            socket.inet_ntoa(client.recv(4))
            if kind == 1
            else client.recv(client.recv(1)[0]).decode()
        )
        target = f"{host}:{struct.unpack('>H', client.recv(2))[0]}"
        self.seen.append(("SOCKS", target, who))
        server = self._connect(target)
        client.sendall(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        return server

    def _connect(self, target: str) -> socket.socket:
        host, _, port = target.rpartition(":")
        return socket.create_connection((self.names.get(host, host), int(port)), 10)


def pipe(one: socket.socket, other: socket.socket) -> None:
    while True:
        for ready in select.select([one, other], [], [])[0]:
            data = ready.recv(65536)
            if not data:
                return
            (other if ready is one else one).sendall(data)


@contextmanager
def running(password: str = "") -> Iterator[Proxy]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = Proxy(listener.getsockname()[1], password)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=proxy.serve, args=(client,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
