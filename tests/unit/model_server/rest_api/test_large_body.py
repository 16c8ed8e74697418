"""Bodies that are received where they stay."""

import socket

from rockstar_serving.model_server.rest_api.large_body import LargeBody


def test_a_body_that_comes_in_pieces() -> None:
    body = LargeBody(10)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert body.received(b"ab") == 2
        theirs.sendall(b"cdefghijk")
        # The last byte is left for who notices the end.
        assert body.receive(ours) == 7
        assert (body.room, body.completed, len(body)) == (0, False, 9)
        assert body.received(ours.recv(10)) == 1
    assert body.completed
    assert body.received(b"more") == 0
    assert bytes(body.getbuffer()) == body.read() == b"abcdefghij"
    assert body.read(3) == b"abc"


def test_the_end_of_the_stream() -> None:
    body = LargeBody(10)
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        assert body.receive(ours) == 0
    assert not body.completed
