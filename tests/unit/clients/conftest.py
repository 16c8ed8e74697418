"""Clients that block and clients that are awaited, behind one way to call them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rockstar_client import AsyncGrpcClient, AsyncHttpClient, GrpcClient, HttpClient


class Awaited:
    """A client of event loops, called as if it blocked."""

    def __init__(self, client, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner

    def __getattr__(self, name):
        def call(*arguments, **named):
            return self._runner.run(getattr(self._client, name)(*arguments, **named))

        return call


@contextmanager
def awaited(client) -> Iterator[Awaited]:
    with asyncio.Runner() as runner:
        one = Awaited(client, runner)
        try:
            yield one
        finally:
            one.close()


@pytest.fixture(params=["blocking", "awaited"])
def connect_http(request):
    """Makes clients of HTTP."""
    if request.param == "blocking":
        return HttpClient
    return lambda *arguments, **named: awaited(AsyncHttpClient(*arguments, **named))


@pytest.fixture(params=["blocking", "awaited"])
def connect_grpc(request):
    """Makes clients of gRPC."""
    if request.param == "blocking":
        return GrpcClient
    return lambda *arguments, **named: awaited(AsyncGrpcClient(*arguments, **named))
