"""gRPC clients with several, busy, secured or third-party servers."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from rockstar_client import (
    DeadlineExceededError,
    GrpcClient,
    InvalidRequestError,
    OverloadedError,
    RetryPolicy,
    ServerError,
    Tls,
    UnavailableError,
)
from rockstar_contract.errors import InvalidInputError
from tests.certificates import AUTHORITY, chain_of, issued, key_of
from tests.contracts import LABELS
from tests.images import png, stroke
from tests.unit.clients.grpc_server import Server, running

IMAGE = png(stroke())
QUICK = RetryPolicy(attempts=4, first=0.01, longest=0.02)


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def address(server):
    with running(server) as address:
        yield address


def test_the_client_labels_predictions(address, connect_grpc):
    with connect_grpc(address) as client:
        answer = client.predict("toy", [IMAGE, np.zeros((3, 8, 8, 1))], top=2)
    assert len(answer.predictions) == 4
    assert (answer.model, answer.version, answer.labels) == ("toy", 2, LABELS)
    assert answer.probabilities.shape == (4, 4)
    assert answer.predictions[3].label == "one"
    assert [each.label for each in answer.predictions[3].top] == ["one", "two"]
    np.testing.assert_array_equal(answer.predictions[3].probabilities, [0.125, 0.5, 0.25, 0.125])


def test_a_rollout_behind_one_address(connect_grpc):
    one, other = Server(), Server()
    with (
        running(one) as first,
        running(other) as second,
        connect_grpc(f"ipv4:{first},{second}") as client,
    ):
        for _ in range(20):
            client.predict("toy", IMAGE)
    assert one.predictions + other.predictions == 20
    assert min(one.predictions, other.predictions) >= 5


def test_host_names(address, connect_grpc):
    with connect_grpc(f"dns:///{address}") as client:
        assert client.predict("toy", IMAGE).version == 2


def test_unavailable_is_retried(server, address, connect_grpc):
    server.failures = [(grpc.StatusCode.UNAVAILABLE, "the queue is full")] * 2
    with connect_grpc(address, retry=QUICK) as client:
        assert client.predict("toy", IMAGE).version == 2
    server.failures = [(grpc.StatusCode.UNAVAILABLE, "the queue is full")] * 9
    with connect_grpc(address, retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(UnavailableError, match="the queue is full"):
            client.predict("toy", IMAGE)
        assert len(server.failures) == 8


@pytest.mark.parametrize("pushback", [[], ["60000"]])
def test_exhausted_resources_are_not_retried(server, address, connect_grpc, pushback):
    """The message may be too large; only over HTTP does a rejection mean "retry later"."""
    server.failures = [(grpc.StatusCode.RESOURCE_EXHAUSTED, "too much", *pushback)] * 9
    with (
        connect_grpc(address, retry=QUICK) as client,
        pytest.raises(OverloadedError, match="too much") as caught,
    ):
        client.predict("toy", IMAGE)
    assert caught.value.retry_after == (60 if pushback else None)
    assert len(server.failures) == 8


def test_a_server_that_forbids_retries(server, address, connect_grpc):
    server.failures = [(grpc.StatusCode.UNAVAILABLE, "going away", "-1")] * 9
    with connect_grpc(address, retry=QUICK) as client, pytest.raises(UnavailableError):
        client.predict("toy", IMAGE)
    assert len(server.failures) == 8


def test_a_missed_deadline(server, address, connect_grpc):
    server.silent = True
    with (
        connect_grpc(address) as client,
        pytest.raises(DeadlineExceededError, match="give it more time with timeout="),
    ):
        client.predict("toy", IMAGE, timeout=0.5)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", r"no model server answers at 127.0.0.1:1 \(gRPC\); start one"),
        ("http://127.0.0.1:8500", "expected HOST:PORT, dns:///NAME:PORT or unix:/PATH"),
    ],
)
def test_an_unreachable_server(connect_grpc, address, message):
    with connect_grpc(address, retry=QUICK) as client:
        with pytest.raises(UnavailableError, match=message):
            client.predict("toy", IMAGE)
        assert client.ready() is False


def test_invalid_inputs(address, connect_grpc, tmp_path):
    (tmp_path / "seven.png").write_bytes(b"no image")
    with connect_grpc(address) as client:
        with pytest.raises(InvalidRequestError, match=r"^inputs\[1\] \(seven.png\): expected an") as caught:  # fmt: skip
            client.predict("toy", [IMAGE, tmp_path / "seven.png"])
        assert caught.value.index == 1
        with pytest.raises(InvalidRequestError, match="No such file") as caught:
            client.predict("toy", "nowhere.png")
        assert (caught.value.field, caught.value.index) == ("inputs[0] (nowhere.png)", 0)
        with pytest.raises(InvalidRequestError, match="a version or a label, got both"):
            client.predict("toy", IMAGE, version=1, label="stable")
        with pytest.raises(InvalidRequestError, match="top: expected 1 or more"):
            client.predict("toy", IMAGE, top=0)


def test_a_model_without_a_contract(server, address, connect_grpc):
    server.failures = [(grpc.StatusCode.INVALID_ARGUMENT, 'signature "contract" not found')]
    with connect_grpc(address) as client, pytest.raises(ServerError, match="carries no contract"):
        client.predict("toy", IMAGE)


@pytest.mark.parametrize("model", ["", None])
def test_a_model_needs_a_name(server, address, connect_grpc, model):
    with connect_grpc(address) as client:
        for call in (lambda: client.predict(model, IMAGE), lambda: client.metadata(model)):
            with pytest.raises(InvalidRequestError, match="model: expected the name") as caught:
                call()
            assert caught.value.field == "model"
    assert server.metadata == []


def test_models_must_be_named_to_be_listed(address, connect_grpc):
    with (
        connect_grpc(address) as client,
        pytest.raises(InvalidRequestError, match=r"GrpcClient\(address, models="),
    ):
        client.models()


def test_keys_and_headers_are_sent_and_never_shown(server, address, connect_grpc):
    with connect_grpc(address, api_key="s3cret", headers={"X-Tenant": "ann"}) as client:
        client.predict("toy", IMAGE)
        assert "s3cret" not in repr(client)
    for metadata in server.metadata:
        assert metadata["authorization"] == "Bearer s3cret"
        assert metadata["x-tenant"] == "ann"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"api_key": "s3cret\n"}, "api_key: expected"),
        ({"models": "toy"}, "models: expected"),
        ({"tls": Tls(ca=__file__)}, "tls: expected PEM files"),
        ({"tls": Tls(ca="nowhere.pem")}, r"tls\.ca: expected a readable PEM file"),
    ],
)
def test_invalid_arguments(connect_grpc, arguments, message):
    with (
        pytest.raises(InvalidInputError, match=f"^{message}") as caught,
        connect_grpc("127.0.0.1:1", **arguments) as client,
    ):
        client.ready()
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("used_before", [False, True])
def test_a_closed_client_raises(address, connect_grpc, used_before):
    with connect_grpc(address) as client:
        if used_before:
            client.predict("toy", IMAGE)
        client.close()
        with pytest.raises(RuntimeError, match="the client is closed: make a new one"):
            client.predict("toy", IMAGE)
        with pytest.raises(RuntimeError, match="is closed"):
            client.ready()


def test_threads_share_a_client(address):
    with GrpcClient(address) as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.predict("toy", IMAGE), range(160)))
    assert {each.predictions[0].label for each in answers} == {"one"}


@pytest.mark.parametrize("both", [False, True], ids=["server", "both"])
def test_tls(server, connect_grpc, tmp_path, both):
    certificate = issued("127.0.0.1")
    authority = AUTHORITY().cert_pem
    authority.write_to_path(tmp_path / "ca.pem")
    issued("client.example").private_key_and_cert_chain_pem.write_to_path(tmp_path / "me.pem")
    credentials = grpc.ssl_server_credentials(
        [(key_of(certificate).encode(), chain_of(certificate).encode())],
        root_certificates=authority.bytes() if both else None,
        require_client_auth=both,
    )
    mine = tmp_path / "me.pem" if both else None
    with running(server, credentials) as address:
        with connect_grpc(address, tls=Tls(tmp_path / "ca.pem", mine)) as client:
            assert client.predict("toy", IMAGE).version == 2
        for wrong in (None, Tls(), *([Tls(tmp_path / "ca.pem")] if both else [])):
            with (
                connect_grpc(address, tls=wrong, retry=QUICK) as client,
                pytest.raises(UnavailableError),
            ):
                client.predict("toy", IMAGE)
