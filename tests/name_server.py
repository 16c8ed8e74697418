"""A name server on loopback for one name with changeable addresses, like a headless service."""

import socket
import threading

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class NameServer:
    """Resolves any name to IPv4 addresses over UDP.

    Attributes:
        addresses: of the name; they may change.
        fault: "" for answers, "silent" for none, "fails" for the error SERVFAIL.
    """

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.fault = ""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._answer_all, daemon=True)

    def target(self, port: int) -> str:
        """The target for a gRPC client that resolves names here."""
        return f"dns://127.0.0.1:{self._socket.getsockname()[1]}/model-server.test:{port}"

    def _answer_all(self) -> None:
        while True:
            wire, client = self._socket.recvfrom(4096)
            if not wire:
                return
            if self.fault == "silent":
                continue
            query = dns.message.from_wire(wire)
            response, question = dns.message.make_response(query), query.question[0]
            if self.fault == "fails":
                response.set_rcode(dns.rcode.SERVFAIL)
            elif question.rdtype == dns.rdatatype.A and self.addresses:
                found = dns.rrset.from_text(question.name, 0, "IN", "A", *self.addresses)
                response.answer.append(found)
            self._socket.sendto(response.to_wire(), client)

    def __enter__(self) -> "NameServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ender:
            ender.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()
