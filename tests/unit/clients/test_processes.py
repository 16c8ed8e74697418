"""Clients in several processes: forked ones (gunicorn --preload, Celery), spawned ones, pickled."""

import collections
import multiprocessing
import pickle
import subprocess
import sys

import pytest

from rockstar_client import AsyncGrpcClient, AsyncHttpClient, GrpcClient, HttpClient, Tls
from tests.certificates import AUTHORITY
from tests.images import png, stroke
from tests.unit.clients import grpc_server
from tests.unit.clients.conftest import awaited
from tests.unit.clients.http_server import Server, running

IMAGE = png(stroke())

# Each process requests its own model name, so that the server can attribute connections.
FORKING = """
import os, sys
from rockstar_client import GrpcClient, HttpClient

kind, place, used, model = sys.argv[1:5]
client = {"http": HttpClient, "grpc": GrpcClient}[kind](place)
image = open(sys.argv[5], "rb").read()

def predict_label(name):
    for _ in range(5):
        assert client.predict(model or name, image, timeout=30).predictions[0].label == "one"

def forked(name, depth):
    child = os.fork()
    if child == 0:
        try:
            if depth:
                forked(name + "-child", depth - 1)
            predict_label(name)
            os._exit(0)
        finally:
            os._exit(1)
    return child

def ended(children):
    for child in children:
        assert os.waitpid(child, 0)[1] == 0

if used == "used":
    predict_label("parent")
ended([forked(f"child-{number}", depth=1) for number in range(3)])
predict_label("parent")
client.close()
"""


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(IMAGE)
    return path


def run_python(*arguments):
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("used", ["used", "unused"])
def test_forked_processes_share_no_connection(image, used):
    with running(Server()) as server:
        run_python("-W", "error", "-c", FORKING, "http", server.url, used, "", image)
        callers = collections.defaultdict(set)
        for seen in server.seen:
            path = seen.line.split()[1].partition("?")[0]
            callers[seen.connection].add(path.removeprefix("/predict/"))
        names = list(callers.values())
        assert [len(each) for each in names] == [1] * 7, names
        # The parent's connection survives its children.
        assert {"parent"} in names


@pytest.mark.parametrize("used", ["used", "unused"])
def test_a_grpc_client_works_in_forked_processes(image, used):
    with grpc_server.running(grpc_server.Server()) as address:
        run_python("-W", "error", "-c", FORKING, "grpc", address, used, "toy", image)


ASYNC_FORKING = """
import asyncio, os, sys
from rockstar_client import AsyncGrpcClient, AsyncHttpClient

kind, place = sys.argv[1:3]
client = {"http": AsyncHttpClient, "grpc": AsyncGrpcClient}[kind](place)
image = open(sys.argv[3], "rb").read()

async def predict_label():
    answer = await client.predict("toy", image, timeout=30)
    return answer.predictions[0].label

runner = asyncio.Runner()
print(runner.run(predict_label()), flush=True)
if os.fork() == 0:
    try:
        print(asyncio.run(predict_label()), flush=True)
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(0)
assert os.wait()[1] == 0
print(runner.run(predict_label()), flush=True)
runner.run(client.close())
runner.close()
"""


def test_an_asynchronous_client_works_in_a_new_loop_of_a_forked_process(image):
    with running(Server()) as server:
        parent, child, parent_again = run_python("-c", ASYNC_FORKING, "http", server.url, image)
    assert (parent, child, parent_again) == ("one", "one", "one")


def test_an_asynchronous_grpc_client_raises_after_a_fork(image):
    with grpc_server.running(grpc_server.Server()) as address:
        parent, child, parent_again = run_python("-c", ASYNC_FORKING, "grpc", address, image)
    assert (parent, parent_again) == ("one", "one")
    assert "start processes by spawn or forkserver, or use GrpcClient" in child


def predict_label(client):
    return client.predict("toy", IMAGE).predictions[0].label


def test_a_client_works_in_a_spawned_process(tmp_path):
    context = multiprocessing.get_context("spawn")
    with (
        running(Server()) as server,
        grpc_server.running(grpc_server.Server()) as address,
        HttpClient(server.url, api_key="s3cret") as http,
        GrpcClient(address, api_key="s3cret") as grpc,
        context.Pool(1) as pool,
    ):
        assert predict_label(http) == predict_label(grpc) == "one"
        assert pool.map(predict_label, [http, grpc, http]) == ["one"] * 3
        assert server.seen[-1].headers["authorization"] == "Bearer s3cret"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_pickled_client_reconnects_unless_it_is_closed(tmp_path, asynchronous):
    AUTHORITY().cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = Tls(ca=tmp_path / "ca.pem")
    kinds = (AsyncHttpClient, AsyncGrpcClient) if asynchronous else (HttpClient, GrpcClient)
    with running(Server()) as server, grpc_server.running(grpc_server.Server()) as address:
        for kind, place, secure in zip(
            kinds, (server.url, address), ("https://x", "x:1"), strict=True
        ):
            pickle.loads(pickle.dumps(kind(secure, tls=tls)))
            copy = pickle.loads(pickle.dumps(kind(place)))
            with awaited(copy) if asynchronous else copy as client:
                assert predict_label(client) == "one"
                client.close()
                with pytest.raises(RuntimeError, match="is closed"):
                    predict_label(client)
            again = pickle.loads(pickle.dumps(copy))
            with (
                awaited(again) if asynchronous else again as client,
                pytest.raises(RuntimeError, match="is closed"),
            ):
                predict_label(client)
