"""Health checks by a container engine: exit status, and a line with the reason."""

import http.server
import socket
import ssl
import threading

import pytest

from rockstar_serving import probe
from rockstar_serving.model_server.models.config import ModelConfig
from rockstar_serving.model_server.options import GrpcOptions, ServerOptions
from rockstar_serving.model_server.server import ModelServer
from tests.certificates import issued
from tests.model_fixtures import write_version


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/livez" else 503)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(params=["http", "https"])
def url(request):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if request.param == "https":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            issued("elsewhere").configure_cert(context)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"{request.param}://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_http(url, capsys):
    assert probe.main([f"{url}/livez"]) == 0
    assert probe.main([f"{url}/readyz"]) == 1
    assert capsys.readouterr().err == f"{url}/readyz: answers 503\n"


@pytest.mark.parametrize(
    ("response", "reason"),
    [(b"", "closes the connection"), (b"SSH-2.0\r\n", "does not speak HTTP")],
)
def test_no_http(response, reason):
    def respond():
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(response)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=respond)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/livez"
        assert probe.check(url) == f"{url}: {reason}"
        thread.join()


@pytest.mark.parametrize("health", [True, False])
def test_grpc(tmp_path, health, capsys):
    write_version(tmp_path / "toy", 1)
    options = ServerOptions(
        (ModelConfig("toy", tmp_path / "toy"),), grpc=GrpcOptions(health=health)
    )
    with ModelServer(options) as server:
        status = probe.main([f"grpc://{server.grpc_address}"])
    assert status == (0 if health else 1)
    assert ("UNIMPLEMENTED" in capsys.readouterr().err) == (not health)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/livez", "grpc://127.0.0.1:9"])
def test_no_response(url, capsys):
    assert probe.main([url]) == 1
    assert "refused" in capsys.readouterr().err.lower()


@pytest.mark.parametrize("arguments", [[], ["ftp://host/"], ["8080"], ["http://host:port/"]])
def test_invalid_urls(arguments, capsys):
    assert probe.main(arguments) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "expected" in said or "port" in said.lower()
