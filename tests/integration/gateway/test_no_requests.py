"""What is no HTTP request is answered like every other error: with a problem document."""

import json
import re
import socket
from functools import partial
from pathlib import Path

import pytest

from tests.waiting import until

BAD = {
    b"no request\r\n\r\n": (400, "request line"),
    b"GET / HTTP/9.9\r\n\r\n": (400, "version"),
    b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 9000): (414, "too large"),
    b"GET / HTTP/1.1\r\nno header\r\n\r\n": (400, "header"),
    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n": (431, "header"),
    b"POST /predict/toy HTTP/1.1\r\nContent-Length: x\r\n\r\n": (400, "content-length"),
    # It is there as a whole, and its header is bad.
    b"POST /predict/toy HTTP/1.1\r\nB@d: 1\r\nContent-Length: 1\r\n\r\n1": (400, "header"),
    b"POST /predict/toy HTTP/1.1\r\nTransfer-Encoding: lzw\r\n\r\n": (501, "lzw"),
}


def is_logged(log: Path, text: str) -> bool:
    return text in log.read_text()


@pytest.mark.usefixtures("both_workers")
def test_what_is_no_request_is_answered_with_a_problem_document(start_gateway):
    gateway = start_gateway("--workers=1")
    host, port = gateway.url.removeprefix("http://").split(":")
    for request, (status, says) in BAD.items():
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(request)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status), answer
        assert b"Content-Type: application/problem+json" in head
        problem = json.loads(body)
        assert (problem["status"], problem["type"]) == (status, "about:blank")
        assert says in problem["detail"].lower(), problem
        request_id = re.search(rb"X-Request-ID: ([0-9a-f]{32})\r\n", head + b"\r\n")
        assert request_id is not None
        assert problem["request_id"] == request_id[1].decode()
        until(partial(is_logged, gateway.log, problem["request_id"]))
