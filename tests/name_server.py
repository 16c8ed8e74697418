"""A name server for one name with changeable addresses, like a headless service."""

import socket
import struct
import threading

_A, _IN = 1, 1
_HEADER = struct.Struct("!6H")
# A response to a recursive query by a recursive server.
_FLAGS = 0x8180


class NameServer:
    """Resolves any name to IPv4 addresses over UDP (RFC 1035)."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._answer_all)

    def target(self, port: int) -> str:
        """The target for a gRPC client that resolves names here."""
        return f"dns://127.0.0.1:{self._socket.getsockname()[1]}/model-server.test:{port}"

    def _answer_all(self) -> None:
        while True:
            question, sender = self._socket.recvfrom(4096)
            if not question:
                return
            self._socket.sendto(self._answer(question), sender)

    def _answer(self, message: bytes) -> bytes:
        number = _HEADER.unpack_from(message)[0]
        end = message.index(b"\0", _HEADER.size) + 5
        (kind,) = struct.unpack_from("!H", message, end - 4)
        addresses = list(self.addresses) if kind == _A else []
        # Each record: the name as a pointer to the question's, type, class, time to live, address.
        records = b"".join(
            struct.pack("!HHHIH", 0xC000 | _HEADER.size, _A, _IN, 0, 4) + socket.inet_aton(each)
            for each in addresses
        )
        header = _HEADER.pack(number, _FLAGS, 1, len(addresses), 0, 0)
        return header + message[_HEADER.size : end] + records

    def __enter__(self) -> "NameServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ender:
            ender.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()
