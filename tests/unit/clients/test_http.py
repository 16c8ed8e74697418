"""HTTP clients with busy, slow, unavailable or secured gateways."""

import email.utils
import json
import logging
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests
from PIL import Image
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from rockstar_client import (
    CallError,
    DeadlineExceededError,
    HttpClient,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    RetryPolicy,
    ServerError,
    Tls,
    UnavailableError,
)
from rockstar_contract.errors import InvalidInputError
from tests.certificates import AUTHORITY, issued
from tests.contracts import LABELS
from tests.images import png, stroke
from tests.unit.clients.http_server import (
    PROBABILITIES,
    Server,
    answer,
    prediction,
    problem,
    running,
)

IMAGE = png(stroke())
QUICK = RetryPolicy(attempts=4, first=0.01, longest=0.02)
BUSY = problem("429 Too Many Requests", "Too many requests.")


@pytest.fixture
def server():
    with running(Server()) as server:
        yield server


def test_a_result_has_every_labels_probability(server, connect_http):
    with connect_http(server.url) as client:
        answer = client.predict("toy", IMAGE, top=2)
        again = client.predict("toy", IMAGE, label="stable")
    (one,) = answer.predictions
    assert (one.label, one.score) == ("one", 0.5)
    assert [(each.label, each.score) for each in one.top] == [("one", 0.5), ("two", 0.25)]
    assert one.labels == answer.labels == LABELS
    assert one.probabilities.dtype == np.float32
    np.testing.assert_array_equal(answer.probabilities, PROBABILITIES)
    np.testing.assert_array_equal(one.probabilities, PROBABILITIES[0])
    assert (answer.model, answer.version, again.version) == ("toy", 2, 2)
    assert [seen.line.split()[1] for seen in server.seen] == [
        "/predict/toy?top=2&full=true",
        "/predict/toy?label=stable&top=3&full=true",
    ]
    # A single file is the body.
    assert [seen.body for seen in server.seen] == [IMAGE, IMAGE]
    assert server.connections == 1


@pytest.mark.parametrize("trouble", [BUSY, problem("503 Service Unavailable", "Starting."), b""])
def test_temporary_errors_are_retried(server, connect_http, trouble):
    server.first = [trouble, trouble]
    with connect_http(server.url, retry=QUICK) as client:
        assert client.predict("toy", IMAGE).predictions[0].label == "one"
    assert len(server.seen) == 3


def test_the_policy_limits_retries(server, connect_http):
    server.first = [BUSY] * 10
    with connect_http(server.url, retry=QUICK) as client:
        with pytest.raises(OverloadedError, match="Too many requests") as caught:
            client.predict("toy", IMAGE)
        assert caught.value.request_id == "r1"
    assert len(server.seen) == 4


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("400 Bad Request", InvalidRequestError),
        ("401 Unauthorized", InvalidRequestError),
        ("404 Not Found", NotFoundError),
        ("413 Content Too Large", InvalidRequestError),
        ("500 Internal Server Error", ServerError),
        ("504 Gateway Timeout", DeadlineExceededError),
    ],
)
def test_other_errors_are_not_retried(server, connect_http, status, kind):
    server.first = [problem(status, "Something is wrong.")]
    with (
        connect_http(server.url, retry=QUICK) as client,
        pytest.raises(kind, match="Something is wrong"),
    ):
        client.predict("toy", IMAGE)
    assert len(server.seen) == 1


def test_retry_after_is_respected(server, connect_http):
    server.first = [problem("429 Too Many Requests", "Busy.", Retry_After="1")]
    started = time.monotonic()
    with connect_http(server.url, retry=QUICK) as client:
        client.predict("toy", IMAGE)
    assert time.monotonic() - started >= 1


@pytest.mark.parametrize("as_date", [False, True])
@pytest.mark.parametrize(
    ("status", "kind"),
    [("429 Too Many Requests", OverloadedError), ("503 Service Unavailable", UnavailableError)],
)
def test_a_retry_after_the_deadline_fails_at_once(server, connect_http, status, kind, as_date):
    later = email.utils.formatdate(time.time() + 3600, usegmt=True) if as_date else "3600"
    server.first = [problem(status, "Busy.", Retry_After=later)]
    with (
        connect_http(server.url) as client,
        pytest.raises(kind, match="requests a pause") as caught,
    ):
        client.predict("toy", IMAGE, timeout=60)
    assert 3500 < caught.value.retry_after <= 3600
    assert len(server.seen) == 1


def test_the_server_may_close_an_idle_connection(server, connect_http):
    hung_up = threading.Event()

    def answer_and_hang_up(connection):
        connection.sendall(prediction())
        connection.shutdown(socket.SHUT_WR)
        hung_up.set()

    with connect_http(server.url, retry=QUICK) as client:
        client.predict("toy", IMAGE)
        server.first = [answer_and_hang_up]
        client.predict("toy", IMAGE)
        assert hung_up.wait(10)
        client.predict("toy", IMAGE)


def silent(connection):
    connection.recv(1)


def trickling(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    pause = threading.Event()
    while not pause.wait(0.02):
        connection.sendall(b"x")


@pytest.mark.parametrize("slowly", [silent, trickling])
def test_a_slow_server_does_not_outlast_the_deadline(server, connect_http, slowly):
    server.first = [slowly]
    with connect_http(server.url) as client:
        with pytest.raises(
            DeadlineExceededError, match=r"within 0.3 s: give it more with timeout="
        ):
            client.predict("toy", IMAGE, timeout=0.3)
        # The gateway got the timeout too.
        assert 0 < float(server.seen[0].headers["x-request-timeout"]) <= 0.3
        assert client.predict("toy", IMAGE).version == 2


def test_an_unreachable_server(connect_http):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with connect_http(url, retry=QUICK) as client:
        with pytest.raises(
            UnavailableError, match=f"nothing answers at {url} .connection refused.; start a server"
        ):
            client.predict("toy", IMAGE)
        assert client.ready() is False


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (answer("200 OK", b"<html>"), "not a gateway: it did not return JSON"),
        (answer("302 Found", Location="/login"), "returned 302 Found"),
        (b"\0\0\x18\4\0\0\0\0\n", r"is not HTTP/1.1\); is it a port for gRPC or HTTPS"),
        (
            answer("404 Not Found", b"<html>"),
            "returned 404 Not Found: is that a RockstarTF gateway",
        ),
        (answer("502 Bad Gateway", b"<html>"), "returned 502 Bad Gateway$"),
    ],
)
def test_a_server_that_is_no_gateway(server, connect_http, first, message):
    server.first = [first] * 9
    with (
        connect_http(server.url, retry=QUICK) as client,
        pytest.raises(CallError, match=message),
    ):
        client.predict("toy", IMAGE)


def test_errors_name_inputs_as_the_caller_does(server, connect_http, tmp_path):
    (tmp_path / "seven.png").write_bytes(b"no image")
    members = b'{"detail": "inputs[1] (1): expected an image", "field": "inputs[1] (1)", "expected": "an image", "got": "", "hint": "h"}'
    server.first = [answer("400 Bad Request", members, Content_Type="application/problem+json")]
    with connect_http(server.url) as client, pytest.raises(InvalidRequestError) as caught:
        client.predict("toy", [IMAGE, tmp_path / "seven.png"])
    error = caught.value
    assert str(error) == "inputs[1] (seven.png): expected an image"
    assert (error.field, error.expected, error.hint) == ("inputs[1] (seven.png)", "an image", "h")
    assert error.index == 1


@pytest.mark.parametrize(
    "wrong", ["nowhere.png", "a\0b", Image.new("CMYK", (2, 2)), 7, np.array([object()])]
)
def test_errors_name_unreadable_inputs(server, connect_http, wrong):
    with connect_http(server.url) as client, pytest.raises(InvalidRequestError) as caught:
        client.predict("toy", [IMAGE, wrong])
    assert caught.value.index == 1
    assert server.seen == []


def test_a_column_of_a_file_in_another_encoding_names_the_encoding(server, connect_http, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes("odejście\n1\n".encode("cp1250"))
    got = "an unknown column 'odejœcie'"
    members = {"detail": f"body row 1.x: expected a, got {got}; h", "field": "body row 1.x"}
    body = json.dumps(members | {"expected": "a", "got": got, "hint": "h"}).encode()
    server.first = [answer("400 Bad Request", body, Content_Type="application/problem+json")]
    with connect_http(server.url) as client, pytest.raises(InvalidRequestError) as caught:
        client.predict("toy", path)
    hint = (
        "read as Windows-1252 (cp1252), not UTF-8: if letters are wrong, save the file as CSV UTF-8"
    )
    assert caught.value.hint == f"h; {hint}"
    assert caught.value.message.endswith(hint)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"url": "127.0.0.1:8080"}, "url"),
        ({"url": "http://"}, "url"),
        ({"url": "http://[::1"}, "url"),
        ({"url": "http://x:99999"}, "url"),
        ({"url": "http://ann:s3cret@x"}, "url"),
        ({"api_key": "s3cret\n"}, "api_key"),
        ({"api_key": "s3crét"}, "api_key"),
        ({"headers": {"X-Token": "s3cret\r\nX-Other: 1"}}, r"headers\['x-token'\]"),
        ({"headers": {"X Token": "s3cret"}}, "headers"),
        ({"tls": Tls()}, "tls"),
        ({"url": "https://x", "tls": Tls(ca="/nowhere.pem")}, "tls.ca"),
        ({"url": "https://x", "tls": Tls(certificate=__file__)}, "tls"),
    ],
)
def test_invalid_arguments(connect_http, arguments, field):
    with (
        pytest.raises(InvalidInputError, match=f"^{field}: expected") as caught,
        connect_http(**arguments),
    ):
        pass
    assert "s3c" not in str(caught.value)


@pytest.mark.parametrize("model", ["", None])
def test_a_model_needs_a_name(server, connect_http, model):
    with connect_http(server.url) as client:
        for call in (lambda: client.predict(model, IMAGE), lambda: client.metadata(model)):
            with pytest.raises(InvalidRequestError, match="model: expected the name") as caught:
                call()
            assert caught.value.field == "model"
    assert server.seen == []


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_a_timeout_is_required(server, connect_http, timeout):
    with connect_http(server.url) as client, pytest.raises(InvalidInputError, match="timeout"):
        client.predict("toy", IMAGE, timeout=timeout)
    assert server.seen == []


def test_keys_and_headers_are_sent_and_never_shown(server, connect_http, caplog):
    caplog.set_level(logging.DEBUG)
    server.first = [problem("401 Unauthorized", "An API key is needed.")]
    with connect_http(server.url, api_key="s3cret", headers={"X-User-ID": "ann"}) as client:
        with pytest.raises(InvalidRequestError, match="give the client its api_key=") as caught:
            client.models()
        assert "s3cret" not in repr(client) + repr(vars(caught.value)) + str(caught.value)
    headers = server.seen[0].headers
    assert (headers["authorization"], headers["x-user-id"]) == ("Bearer s3cret", "ann")
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("used_before", [False, True])
def test_a_closed_client_raises(server, connect_http, used_before):
    with connect_http(server.url) as client:
        if used_before:
            client.predict("toy", IMAGE)
        seen = len(server.seen)
        client.close()
        with pytest.raises(RuntimeError, match="the client is closed: make a new one"):
            client.predict("toy", IMAGE)
        with pytest.raises(RuntimeError, match="is closed"):
            client.ready()
    assert len(server.seen) == seen


def test_threads_share_a_client():
    with running(Server()) as server, HttpClient(server.url) as client:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: client.predict("toy", IMAGE), range(160)))
        assert {each.predictions[0].label for each in answers} == {"one"}
        # Each thread keeps its connection.
        assert server.connections <= 8


class Signed(AuthBase):
    def __call__(self, request):
        request.headers["X-Signature"] = str(len(request.body or b""))
        return request


def test_a_users_session_stays_open(server):
    statuses = []
    with requests.Session() as session:
        session.auth = Signed()
        session.hooks["response"].append(lambda answer, **_: statuses.append(answer.status_code))
        with HttpClient(server.url, session=session) as client:
            assert client.predict("toy", IMAGE).predictions[0].label == "one"
        assert session.get(server.url).ok
    assert statuses == [200, 200]
    assert server.seen[0].headers["x-signature"] == str(len(IMAGE))


class Offline(HTTPAdapter):
    def send(self, *_arguments, **_named):
        raise requests.ConnectionError("no network in this session")


def test_a_users_adapter_is_used(server):
    session = requests.Session()
    session.mount("http://", Offline())
    with (
        HttpClient(server.url, session=session, retry=QUICK) as client,
        pytest.raises(UnavailableError, match="no network in this session"),
    ):
        client.predict("toy", IMAGE)
    assert not server.seen


def test_a_password_in_netrc_does_not_replace_the_key(server, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for session in (None, requests.Session()):
        with HttpClient(server.url, api_key="rk_1", session=session) as client:
            client.predict("toy", IMAGE)
    assert {seen.headers["authorization"] for seen in server.seen} == {"Bearer rk_1"}


def test_a_request_is_sent_at_once():
    received = []

    def respond() -> None:
        connection, _ = listener.accept()
        with connection:
            for _ in range(2):
                received.append(connection.recv(10_000))
                connection.sendall(prediction())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=respond)
        thread.start()
        with HttpClient(f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
            for _ in range(2):
                client.predict("toy", IMAGE)
        thread.join()
    assert [content.endswith(b"\r\n\r\n" + IMAGE) for content in received] == [True, True]


@pytest.fixture
def tls_server(tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued("127.0.0.1").configure_cert(context)
    AUTHORITY().configure_trust(context)
    AUTHORITY().cert_pem.write_to_path(tmp_path / "ca.pem")
    with running(Server(), context) as server:
        yield server, context


def test_tls(tls_server, connect_http, tmp_path):
    server, _context = tls_server
    with connect_http(server.url, tls=Tls(ca=tmp_path / "ca.pem")) as client:
        assert client.predict("toy", IMAGE).version == 2
    with (
        connect_http(server.url, retry=QUICK) as client,
        pytest.raises(UnavailableError, match=r"not trusted: see tls=Tls\(ca="),
    ):
        client.predict("toy", IMAGE)
    with (
        connect_http(server.url.replace("https", "http"), retry=QUICK) as client,
        pytest.raises(CallError),
    ):
        client.predict("toy", IMAGE)


def test_the_authorities_of_the_environment(tls_server, tmp_path, monkeypatch):
    server, _context = tls_server
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with HttpClient(server.url) as client:
        assert client.predict("toy", IMAGE).predictions[0].label == "one"


def test_client_certificates(tls_server, connect_http, tmp_path):
    server, context = tls_server
    context.verify_mode = ssl.CERT_REQUIRED
    mine = issued("client.example")
    mine.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    with connect_http(
        server.url, tls=Tls(ca=tmp_path / "ca.pem", certificate=tmp_path / "client.pem")
    ) as client:
        assert client.predict("toy", IMAGE).version == 2
    with (
        connect_http(server.url, tls=Tls(ca=tmp_path / "ca.pem"), retry=QUICK) as client,
        pytest.raises(UnavailableError),
    ):
        client.predict("toy", IMAGE)
