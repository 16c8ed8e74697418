"""Proxies of the environment: clients use them as `requests` does, gateways do not."""

import os
import ssl
import subprocess
import sys

import pytest
import requests

from rockstar_client import AsyncGrpcClient, GrpcClient, RetryPolicy, Tls, UnavailableError
from rockstar_client.backend import Query
from rockstar_client.errors import CallError
from rockstar_client.tfserving import TFServingClient
from rockstar_contract.errors import InvalidInputError
from tests.certificates import AUTHORITY, issued
from tests.images import png, stroke
from tests.unit.clients import grpc_server, proxy_server
from tests.unit.clients.conftest import awaited
from tests.unit.clients.http_server import Server, running

IMAGE = png(stroke())
QUICK = RetryPolicy(attempts=1)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture
def server():
    with running(Server()) as server:
        yield server


@pytest.fixture
def proxy():
    with proxy_server.running() as proxy:
        yield proxy


SETTINGS = {
    "none": {},
    "http_proxy": {"http_proxy": "http://PROXY"},
    "upper case": {"HTTP_PROXY": "http://PROXY"},
    "both cases, the lower one counts": {"HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "http://PROXY"},
    "of https alone": {"https_proxy": "http://PROXY"},
    "of everything": {"all_proxy": "http://PROXY"},
    "of everything, upper case": {"ALL_PROXY": "http://PROXY"},
    "its own before that of everything": {"all_proxy": "http://127.0.0.1:1", "http_proxy": "http://PROXY"},
    "without a scheme": {"http_proxy": "PROXY"},
    "with a slash": {"http_proxy": "http://PROXY/"},
    "empty": {"http_proxy": ""},
    "past it: the host": {"http_proxy": "http://PROXY", "no_proxy": "example.com, 127.0.0.1"},
    "past it: upper case": {"http_proxy": "http://PROXY", "NO_PROXY": "127.0.0.1"},
    "past it: host and port": {"http_proxy": "http://PROXY", "no_proxy": "127.0.0.1:SERVER"},
    "past it: another port": {"http_proxy": "http://PROXY", "no_proxy": "127.0.0.1:1"},
    "past it: a network": {"http_proxy": "http://PROXY", "no_proxy": "10.0.0.0/8,127.0.0.0/8"},
    "past it: another network": {"http_proxy": "http://PROXY", "no_proxy": "10.0.0.0/8"},
    "past it: everything": {"http_proxy": "http://PROXY", "no_proxy": "*"},
    "past it: a name": {"http_proxy": "http://PROXY", "no_proxy": "localhost"},
}  # fmt: skip


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_proxies_are_chosen_as_by_requests(monkeypatch, server, proxy, connect_http, setting, host):
    url = server.url.replace("127.0.0.1", host)
    for name, value in SETTINGS[setting].items():
        value = value.replace("PROXY", f"127.0.0.1:{proxy.port}")
        monkeypatch.setenv(name, value.replace("SERVER", url.rpartition(":")[2]))
    assert requests.get(f"{url}/readyz", timeout=10).ok
    expected = list(proxy.seen)
    proxy.seen.clear()
    with connect_http(url) as client:
        assert client.ready()
    assert proxy.seen == expected


@pytest.mark.parametrize(
    ("user", "sent"), [("ann:s3cret", "ann:s3cret"), ("a%40b:p%20%3A", "a@b:p :")]
)
def test_a_proxy_with_a_password(monkeypatch, server, connect_http, user, sent):
    with proxy_server.running(sent) as proxy:
        monkeypatch.setenv("http_proxy", f"http://{user}@127.0.0.1:{proxy.port}")
        assert requests.get(f"{server.url}/readyz", timeout=10).ok
        with connect_http(server.url) as client:
            assert client.predict("toy", IMAGE).version == 2
    assert {who for _, _, who in proxy.seen} == {sent}


@pytest.mark.parametrize("reachable", [True, False])
def test_errors_of_a_proxy_omit_its_password(monkeypatch, server, connect_http, reachable):
    with proxy_server.running("ann:other") as proxy:
        port = proxy.port if reachable else 1
        monkeypatch.setenv("http_proxy", f"http://ann:s3cret@127.0.0.1:{port}")
        hint = r" \(set no_proxy=127" if reachable else ", see"
        with (
            connect_http(server.url, retry=QUICK) as client,
            pytest.raises(
                CallError if reachable else UnavailableError,
                match=rf"through the proxy 127\.0\.0\.1{hint}",
            ) as caught,
        ):
            client.predict("toy", IMAGE)
        assert "s3cret" not in str(caught.value) + repr(client)


def test_https_goes_through_a_tunnel(monkeypatch, proxy, connect_http, tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued("127.0.0.1").configure_cert(context)
    AUTHORITY().cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
    with (
        running(Server(), context) as server,
        connect_http(server.url, tls=Tls(ca=tmp_path / "ca.pem")) as client,
    ):
        assert client.predict("toy", IMAGE).version == 2
    assert proxy.seen == [("CONNECT", server.url.removeprefix("https://"), "")]


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_socks(monkeypatch, server, proxy, connect_http, scheme):
    monkeypatch.setenv("all_proxy", f"{scheme}://ann:s3%20cret@127.0.0.1:{proxy.port}")
    url = server.url.replace("127.0.0.1", "localhost")
    assert requests.get(f"{url}/readyz", timeout=10).ok
    with connect_http(url) as client:
        assert client.ready()
    # With the h, the proxy resolves the name.
    port = url.rpartition(":")[2]
    host = "localhost" if scheme == "socks5h" else "127.0.0.1"
    assert proxy.seen == [("SOCKS", f"{host}:{port}", "ann:s3 cret")] * 2


def test_an_unreachable_socks_proxy(monkeypatch, server, connect_http):
    monkeypatch.setenv("all_proxy", "socks5h://127.0.0.1:1")
    with (
        connect_http(server.url, retry=QUICK) as client,
        pytest.raises(UnavailableError, match="through the proxy"),
    ):
        client.predict("toy", IMAGE)


@pytest.mark.parametrize("proxy", ["http://", "ftp://proxy:3128", "http://ann:s3cret@a b:1"])
def test_invalid_proxies(monkeypatch, connect_http, proxy):
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(InvalidInputError, match="http_proxy: expected http://HOST") as caught:
        connect_http("http://gateway.example")
    assert "s3cret" not in str(caught.value)


def test_socks_needs_a_package(monkeypatch):
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1080")
    code = (
        "import sys, asyncio; sys.modules['socks'] = sys.modules['aiohttp_socks'] = None\n"
        "from rockstar_client import HttpClient, AsyncHttpClient\n"
        "for kind in (HttpClient, AsyncHttpClient):\n"
        "    try: kind('http://gateway.example')\n"
        "    except ValueError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("rockstartf[socks]") == 2, done.stderr


@pytest.fixture
def model_server():
    with grpc_server.running(grpc_server.Server()) as address:
        yield address


@pytest.mark.parametrize(
    ("setting", "through"),
    [
        ({}, False),
        ({"http_proxy": "PROXY"}, True),
        ({"HTTPS_PROXY": "http://PROXY"}, True),
        ({"all_proxy": "http://PROXY"}, True),
        ({"all_proxy": "socks5://PROXY"}, False),
        ({"http_proxy": "http://PROXY", "NO_PROXY": "127.0.0.0/8"}, False),
        ({"http_proxy": "http://PROXY", "no_proxy": "*"}, False),
        ({"grpc_proxy": "http://PROXY"}, True),
    ],
)
@pytest.mark.parametrize("kind", [GrpcClient, AsyncGrpcClient])
def test_grpc(monkeypatch, model_server, proxy, kind, setting, through):
    for name, value in setting.items():
        monkeypatch.setenv(name, value.replace("PROXY", f"127.0.0.1:{proxy.port}"))
    client = kind(model_server)
    with client if kind is GrpcClient else awaited(client) as client:
        assert client.predict("toy", IMAGE).version == 2
    assert [(method, target) for method, target, _ in proxy.seen] == [
        ("CONNECT", model_server)
    ] * through


@pytest.mark.parametrize("kind", [GrpcClient, AsyncGrpcClient])
def test_a_proxy_that_rejects_grpc(monkeypatch, model_server, kind):
    with proxy_server.running("ann:other") as proxy:
        for port in (proxy.port, 1):
            monkeypatch.setenv("https_proxy", f"http://ann:s3cret@127.0.0.1:{port}")
            client = kind(model_server, retry=QUICK)
            with (
                client if kind is GrpcClient else awaited(client) as client,
                pytest.raises(UnavailableError, match="through the proxy 127") as caught,
            ):
                client.predict("toy", IMAGE)
            assert "set no_proxy=127.0.0.1 to bypass it" in str(caught.value)
            assert "s3cret" not in str(caught.value)


def test_gateways_bypass_proxies(monkeypatch, model_server, proxy):
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    with TFServingClient(model_server) as client:
        assert client.contract(Query("toy")).labels
    assert proxy.seen == []
