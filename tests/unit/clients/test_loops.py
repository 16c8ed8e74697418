"""One asynchronous client in several event loops, in turn and concurrently."""

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from rockstar_client import AsyncGrpcClient, AsyncHttpClient
from tests.images import png, stroke
from tests.unit.clients import grpc_server
from tests.unit.clients.http_server import Server, running

IMAGE = png(stroke())
# A loop that is closed before the client leaves its sockets to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(params=[AsyncHttpClient, AsyncGrpcClient])
def client(request):
    if request.param is AsyncHttpClient:
        with running(Server()) as server:
            yield AsyncHttpClient(server.url)
    else:
        with grpc_server.running(grpc_server.Server()) as address:
            yield AsyncGrpcClient(address)
    gc.collect()


async def predict_label(client):
    return (await client.predict("toy", IMAGE)).predictions[0].label


def test_consecutive_event_loops(client, caplog):
    for _ in range(3):
        assert asyncio.run(predict_label(client)) == "one"
    asyncio.run(client.close())
    with pytest.raises(RuntimeError, match="is closed"):
        asyncio.run(predict_label(client))
    assert not caplog.records


def test_event_loops_in_several_threads(client):
    together = threading.Barrier(4)

    async def several() -> set[str]:
        together.wait(30)
        return {await predict_label(client) for _ in range(5)}

    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(asyncio.run, several()) for _ in range(4)]
        assert [each.result() for each in answers] == [{"one"}] * 4
    asyncio.run(client.close())


def test_closing_closes_the_connections_of_all_loops(client):
    with asyncio.Runner() as one, asyncio.Runner() as other:
        assert one.run(predict_label(client)) == other.run(predict_label(client)) == "one"
        other.run(client.close())
        with pytest.raises(RuntimeError, match="is closed"):
            one.run(predict_label(client))
        # The loop that was not running closes its connection now.
        one.run(asyncio.sleep(0.05))


def test_a_running_loop_as_in_notebooks(client):
    async def cell() -> str:
        async with client:
            answers = await asyncio.gather(*(predict_label(client) for _ in range(20)))
        return " ".join(set(answers))

    assert asyncio.run(cell()) == "one"
