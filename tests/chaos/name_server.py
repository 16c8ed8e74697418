"""A name server on loopback, which can stop answering."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

NAME = "model-server.test"


@dataclass
class NameServer:
    """Resolves every name to 127.0.0.1.

    Attributes:
        port: of UDP, on 127.0.0.1.
        fault: "" for answers, "silent" for none, "fails" for the error SERVFAIL.
    """

    port: int = 0
    fault: str = ""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Answer queries."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", self.port))
            self.port = server.getsockname()[1]
            thread = threading.Thread(target=self._answer, args=(server,), daemon=True)
            thread.start()
            yield
            server.sendto(b"", server.getsockname())  # the end
            thread.join()

    def _answer(self, server: socket.socket) -> None:
        while True:
            wire, client = server.recvfrom(4096)
            if not wire:
                return
            if self.fault == "silent":
                continue
            query = dns.message.from_wire(wire)
            response, question = dns.message.make_response(query), query.question[0]
            if self.fault == "fails":
                response.set_rcode(dns.rcode.SERVFAIL)
            elif question.rdtype == dns.rdatatype.A:
                address = dns.rrset.from_text(question.name, 1, "IN", "A", "127.0.0.1")
                response.answer.append(address)
            server.sendto(response.to_wire(), client)
