"""Blocking and asynchronous clients with the same interface."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rockstar_client import AsyncGrpcClient, AsyncHttpClient, GrpcClient, HttpClient


class Awaited:
    """An asynchronous client with blocking calls."""

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
    """Creates HTTP clients."""
    if request.param == "blocking":
        return HttpClient
    return lambda *arguments, **named: awaited(AsyncHttpClient(*arguments, **named))


@pytest.fixture(params=["blocking", "awaited"])
def connect_grpc(request):
    """Creates gRPC clients."""
    if request.param == "blocking":
        return GrpcClient
    return lambda *arguments, **named: awaited(AsyncGrpcClient(*arguments, **named))
