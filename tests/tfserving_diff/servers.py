"""The two servers: addresses, start, and replies."""

import http.client
import json
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import grpc
import msgspec
from google.protobuf import json_format

from rockstar_serving.model_server.models.config import read_config_file
from rockstar_serving.model_server.options import (
    EngineOptions,
    LoadOptions,
    RestOptions,
    ServerOptions,
)
from rockstar_serving.model_server.server import ModelServer
from tests.ports import free_ports
from tfs_api.messages.prediction_pb2 import SignatureDefMap
from tfs_api.services import GET_MODEL_STATUS, Method, methods

_ROOT = Path(__file__).parents[2]
_METHODS: dict[str, Method[Any, Any]] = {method.path: method for method in methods()}
_HEADERS = (
    *("Content-Type", "Content-Encoding"),
    *("Access-Control-Allow-Origin", "Access-Control-Allow-Methods"),
    "Access-Control-Allow-Headers",
)
_TIMEOUT_S = 60.0
_START_S = 120.0


class Request(msgspec.Struct, frozen=True):
    """A request to both servers.

    Attributes:
        kind: subject of the test, for the summary.
        path: path of the URL, or of the gRPC method.
        method: HTTP method, or "gRPC".
        body: HTTP body, or serialized message.
        headers: HTTP headers.
    """

    kind: str
    path: str
    method: str = "gRPC"
    body: bytes = b""
    headers: dict[str, str] = {}

    def __str__(self) -> str:
        if self.method != "gRPC":
            return f"{self.method} {self.path} {self.body.decode(errors='backslashreplace')}"
        try:
            text = str(_METHODS[self.path].request.FromString(self.body))
        except ValueError:
            text = self.body.hex()
        return f"gRPC {self.path} {' '.join(text.split())}"


class Reply(msgspec.Struct):
    """A server's reply.

    Attributes:
        status: HTTP status, or name of the gRPC code; "no answer" if the connection broke.
        message: message of an error.
        document: document of a success, parsed if it is JSON, else text.
        headers: HTTP headers that clients use.
    """

    status: str
    message: str = ""
    document: Any = None
    headers: dict[str, str] = {}


class Server:
    """A server under comparison; as a context manager it closes its connections.

    Args:
        rest: HOST:PORT for REST; None for no REST.
        grpc_address: HOST:PORT for gRPC; None for no gRPC.
    """

    def __init__(self, rest: str | None, grpc_address: str | None) -> None:
        self.rest = rest
        self._connection = http.client.HTTPConnection(rest, timeout=_TIMEOUT_S) if rest else None
        self._channel = grpc.insecure_channel(grpc_address) if grpc_address else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection:
            self._connection.close()
        if self._channel:
            self._channel.close()

    def takes(self, request: Request) -> bool:
        """Whether it can handle a request."""
        return (self._channel if request.method == "gRPC" else self._connection) is not None

    def ask(self, request: Request) -> Reply:
        """Send a request and read the answer."""
        if request.method == "gRPC":
            return self._call(request)
        try:
            return self._fetch(request)
        except (OSError, http.client.HTTPException) as error:
            return Reply("no answer", f"{type(error).__name__}: {error}")

    def check(self) -> None:
        """Send an HTTP request.

        Raises:
            OSError: no reply.
        """
        by_rest = Request("", "/v1/models", "GET")
        reply = self.ask(by_rest if self._connection else Request("", GET_MODEL_STATUS.path))
        if reply.status in ("no answer", "UNAVAILABLE"):
            raise OSError(f"{self.rest or 'the gRPC server'} does not answer: {reply.message}")

    def signatures(self, model: str) -> Any:
        """The signatures of a model by name, in REST's format; empty without any."""
        name = model.replace("/", "%2F").replace(":", "%3A")
        reply = self.ask(Request("", f"/v1/models/{name}/metadata", "GET"))
        if reply.status != "200":
            return {}
        return reply.document["metadata"]["signature_def"]["signature_def"]

    def _fetch(self, request: Request) -> Reply:
        assert self._connection is not None
        try:
            self._connection.request(
                request.method, request.path, request.body or None, request.headers
            )
            response = self._connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()  # the next request reopens it
            raise
        headers = {name: value for name in _HEADERS if (value := response.getheader(name))}
        text = body.decode("utf-8", "surrogateescape")
        try:
            document = json.loads(text)
        except ValueError:
            document = text
        status = str(response.status)
        if response.status == 200:
            return Reply(status, document=document, headers=headers)
        error = document.get("error") if isinstance(document, dict) else None
        return Reply(status, error if isinstance(error, str) else text, headers=headers)

    def _call(self, request: Request) -> Reply:
        assert self._channel is not None
        call: Any = self._channel.unary_unary(request.path)
        try:
            body = call(request.body, timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            failed: Any = error
            return Reply(failed.code().name, failed.details())
        response = _METHODS[request.path].response.FromString(body)
        return Reply("OK", document=_document(response))


def _document(message: Any) -> Any:
    """A message in JSON, with the contents of Any."""
    if not hasattr(message, "metadata"):
        return json_format.MessageToDict(message, preserving_proto_field_name=True)
    document = {"model_spec": _document(message.model_spec)}
    for name, value in message.metadata.items():
        signatures = SignatureDefMap.FromString(value.value)
        document[name] = {"type_url": value.type_url, "value": _document(signatures)}
    return document


@contextmanager
def embedded(config: Path, *, prefer_tflite: bool = False) -> Iterator[Server]:
    """The embedded server, in this process, with the models of a configuration file."""
    options = ServerOptions(
        read_config_file(config),
        rest=RestOptions(cors=True),
        load=LoadOptions(allow_labels_for_unavailable=True),
        engine=EngineOptions(prefer_tflite=prefer_tflite),
    )
    with (
        ModelServer(options) as server,
        Server(server.rest_address, server.grpc_address) as asked,
    ):
        yield asked


class Container(Server):
    """A Docker container with TensorFlow Serving, which restarts when a request crashes it.

    Args:
        identity: the container's id.
    """

    def __init__(self, rest: str, grpc_address: str, identity: str) -> None:
        super().__init__(rest, grpc_address)
        self._identity = identity

    def ask(self, request: Request) -> Reply:
        """Send a request and read the reply; without one, wait until the container has restarted."""
        reply = super().ask(request)
        if reply.status not in ("no answer", "UNAVAILABLE"):
            return reply
        self.wait()
        return Reply("no answer", reply.message)

    def wait(self) -> None:
        """Wait until it responds: it serves REST once all models that load are available.

        Raises:
            TimeoutError: it does not respond in time.
        """
        until = time.monotonic() + _START_S
        while super().ask(Request("", "/v1/models/half_plus", "GET")).status != "200":
            if time.monotonic() > until:
                command = ["docker", "logs", self._identity]
                log = subprocess.run(command, capture_output=True, text=True).stderr
                raise TimeoutError(f"TensorFlow Serving does not start: {log[-2000:]}")
            time.sleep(0.2)
        assert self._channel is not None
        grpc.channel_ready_future(self._channel).result(_START_S)


@contextmanager
def container(config: Path, *, prefer_tflite: bool = False) -> Iterator[Container]:
    """TensorFlow Serving in a Docker container, with the models beside a configuration file.

    Args:
        config: configuration file with paths below /models.
        prefer_tflite: whether to run LiteRT files if there are any.

    Raises:
        OSError: Docker is missing, or TensorFlow Serving does not start.
        subprocess.CalledProcessError: the container does not start.
    """
    ports = free_ports(2)  # ports stay the same after a restart
    command = [
        *("docker", "run", "--detach", "--restart=on-failure"),
        *(f"--publish=127.0.0.1:{ports[0]}:8500", f"--publish=127.0.0.1:{ports[1]}:8501"),
        *("--volume", f"{config.parent.resolve()}:/models:ro"),
        f"tensorflow/serving:{version()}",
        f"--model_config_file=/models/{config.name}",
        "--allow_version_labels_for_unavailable_models",
        "--rest_api_enable_cors_support",
        f"--prefer_tflite_model={str(prefer_tflite).lower()}",
    ]
    identity = _docker(command)
    try:
        rest, grpc_address = (f"127.0.0.1:{port}" for port in reversed(ports))
        with Container(rest, grpc_address, identity) as server:
            server.wait()
            yield server
    finally:
        _docker(["docker", "rm", "--force", identity])


def version() -> str:
    """The pinned version of TensorFlow Serving."""
    found = re.search(r"^ARG TFSERVING_VERSION=(\S+)", (_ROOT / "Dockerfile.cpu").read_text(), re.M)
    assert found
    return found[1]


def _docker(command: list[str]) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.split()[0]


def addresses(text: str) -> Mapping[str, str]:
    """The addresses in `http://HOST:PORT,grpc://HOST:PORT`, by scheme.

    Raises:
        ValueError: the text does not have this form.
    """
    found: dict[str, str] = {}
    for each in text.split(","):
        scheme, separator, address = each.strip().rstrip("/").partition("://")
        if not separator or scheme not in ("http", "grpc") or scheme in found or not address:
            raise ValueError(f"expected http://HOST:PORT,grpc://HOST:PORT, got {text!r}")
        found[scheme] = address
    return found
