import os
import signal
import socket
import ssl
from contextlib import suppress

import pytest
import requests

from rockstar_client import HttpClient, Tls
from rockstar_serving import probe
from tests.certificates import AUTHORITY, issued
from tests.integration.gateway.conftest import IMAGE, end, launch
from tests.waiting import until


@pytest.fixture
def files(tmp_path):
    paths = tmp_path / "tls.crt", tmp_path / "tls.key"
    write(paths, issued("127.0.0.1"))
    return paths


@pytest.fixture
def trust(tmp_path):
    path = tmp_path / "ca.pem"
    AUTHORITY().cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def port(toy_server, tmp_path, host, files):
    certificate, key = files
    options = ("--model=toy", f"--tls-certificate={certificate}", f"--tls-key={key}")
    gateway = launch(toy_server.port, tmp_path / "gateway.log", *options, server=host)
    try:
        until(lambda: not probe.check(f"https://127.0.0.1:{gateway.port}/readyz"), what="readiness")
        yield gateway.process.pid, gateway.port
    finally:
        end(gateway)


def write(paths, certificate):
    certificate_path, key_path = paths
    certificate_path.write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(str(key_path))


def serial(port, trust):
    context = ssl.create_default_context(cafile=trust)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        return connection.getpeercert()["serialNumber"]


def test_predicts_over_https_while_others_do_not_finish_the_handshake(port, trust):
    _, number = port
    silent = [socket.create_connection(("127.0.0.1", number)) for _ in range(40)]
    try:
        with HttpClient(f"https://127.0.0.1:{number}", tls=Tls(ca=trust)) as client:
            assert client.predict("toy", IMAGE).predictions[0].label == "zero"
        with pytest.raises(requests.exceptions.SSLError):  # the authority is not a public one
            requests.get(f"https://127.0.0.1:{number}/livez", timeout=30)
        with pytest.raises(requests.RequestException):
            requests.get(f"http://127.0.0.1:{number}/livez", timeout=30).raise_for_status()
        old = ssl.create_default_context(cafile=trust)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with socket.create_connection(("127.0.0.1", number), timeout=30) as plain:
            old.wrap_socket(plain, server_hostname="127.0.0.1").close()
    finally:
        for connection in silent:
            connection.close()


def test_a_renewed_certificate_is_used_after_sighup(port, trust, files):
    pid, number = port
    before = serial(number, trust)
    write(files, AUTHORITY().issue_cert("127.0.0.1"))
    os.kill(pid, signal.SIGHUP)

    def renewed():
        # A worker that stops may end a handshake before any request, so clients connect again.
        with suppress(ssl.SSLEOFError, ConnectionResetError):
            return serial(number, trust) != before

    until(renewed, what="the renewed certificate")
