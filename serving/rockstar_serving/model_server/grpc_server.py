"""The gRPC server: addresses, TLS, start and stop."""

import logging
import os
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

import grpc

from rockstar_serving.listening import bind, join
from rockstar_serving.model_server.models.config import ConfigError, parse_text_proto, read_config
from rockstar_serving.model_server.options import GrpcOptions, TlsOptions
from tfs_api.messages.ssl_config_pb2 import SSLConfig
from tfs_api.services import MAX_MESSAGE_BYTES

log = logging.getLogger(__name__)

# A grpc.RpcMethodHandler for each path, such as /tensorflow.serving.PredictionService/Predict.
Handlers = Mapping[str, Any]

# A server that stops waits until no call has arrived for this time, at most this long.
_QUIET_SECONDS = 0.1
PATIENCE_SECONDS = 1.0
# The size of sun_path in sockaddr_un (macOS: 104), less the byte that ends it.
MAX_PATH_BYTES = 103


def with_threads(
    behavior: Callable[..., Any], pool: ThreadPoolExecutor, *, non_blocking: bool = False
) -> Any:
    """A handler that runs in the threads of a pool instead of the server's.

    A non-blocking one gets a function that sends responses, instead of returning them.
    """
    handler: Any = partial(behavior)
    # gRPC reads these attributes (grpc/_server.py).
    handler.experimental_thread_pool = pool
    handler.experimental_non_blocking = non_blocking
    return handler


class OpenStreams:
    """Calls that do not end by themselves, so that the server must end them when it stops."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: dict[grpc.ServicerContext, Callable[[], None]] = {}

    def add(self, context: grpc.ServicerContext, end: Callable[[], None]) -> None:
        """Register a stream until it ends; `end` ends it."""

        def remove() -> None:
            with self._lock:
                self._ends.pop(context, None)

        with self._lock:
            self._ends[context] = end
        if not context.add_callback(remove):
            remove()  # it has ended already

    def end(self) -> None:
        """End all of them."""
        with self._lock:
            ends = list(self._ends.values())
        for end in ends:
            end()


class Admission(grpc.GenericRpcHandler):
    """Passes calls to the handlers; once closed, calls get UNAVAILABLE.

    A gRPC server that stops cancels calls that have no handler yet, which callers cannot
    distinguish from their own cancelling. After UNAVAILABLE they try another server.
    """

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers
        self._closed = False
        self._latest = 0.0

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """The handler of a call; None: the method is unknown."""
        self._latest = time.monotonic()
        found = self._handlers.get(details.method)
        return _REFUSAL if self._closed and found else found

    def close(self, patience: float) -> None:
        """Reject calls; waits until none has arrived for a while, at most `patience` seconds."""
        self._closed = True
        until = time.monotonic() + patience
        while (now := time.monotonic()) < min(until, self._latest + _QUIET_SECONDS):
            time.sleep(min(until, self._latest + _QUIET_SECONDS) - now)


def _refuse(_: bytes, context: grpc.ServicerContext) -> NoReturn:
    context.abort(grpc.StatusCode.UNAVAILABLE, "the server is stopping")


_REFUSAL: Any = grpc.unary_unary_rpc_method_handler(_refuse)


class SocketFile:
    """The path of a UNIX socket, which may be taken over from an earlier server.

    gRPC takes over a path that another server listens on, and deletes it when it stops, even if a
    newer server listens there. So the socket is bound under a temporary name and moved onto the
    path, where clients always find one, and a server removes the path only if it still owns it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bound_as = path.with_name(f".{secrets.token_hex(2)}")
        self._identity: tuple[int, ...] | None = None

    def check(self) -> None:
        """Raise an OSError if the path cannot be bound; gRPC does not report why it cannot."""
        if max(len(os.fsencode(path)) for path in (self.path, self.bound_as)) > MAX_PATH_BYTES:
            raise OSError(None, f"the path is longer than {MAX_PATH_BYTES} bytes")
        if not self.path.parent.is_dir():
            raise OSError(None, "its folder does not exist")
        if os.path.lexists(self.path) and not self.path.is_socket():
            raise OSError(None, "a file of this name exists and is not a socket")
        with socket.socket(socket.AF_UNIX) as plain:
            plain.bind(os.fspath(self.bound_as))
        self.bound_as.unlink()

    def publish(self) -> None:
        """Move the bound socket onto the path, where clients find it."""
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(os.fspath(self.path)) == 0:
                log.warning(
                    "another server listens on %s (--grpc_socket_path): new connections go to this "
                    "one from now on, and the other keeps those it has",
                    self.path,
                )
        self._identity = _identity(self.bound_as)
        self.bound_as.replace(self.path)

    def remove(self) -> None:
        """Remove the path unless a newer server has taken it over."""
        if self._identity is not None and _identity(self.path) == self._identity:
            self.path.unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, ...] | None:
    """Identifies a socket file, also if a newer one has the same inode number."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def new_server(options: GrpcOptions, handlers: Sequence[grpc.GenericRpcHandler]) -> grpc.Server:
    """A server with these options that does not listen yet."""
    settings: dict[str, int | str] = {
        # Without this, a second server would share the port instead of failing.
        "grpc.so_reuseport": 0,
        "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
        "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
        # Of a call that waits for a thread, gRPC otherwise keeps the whole message. Longer ones
        # take one round trip more.
        "grpc.http2.bdp_probe": 0,
        "grpc.http2.lookahead_bytes": 256 * 2**10,
        **options.channel_arguments,
    }
    return grpc.server(
        ThreadPoolExecutor(options.threads, thread_name_prefix="grpc"),
        handlers=list(handlers),
        options=list(settings.items()),
    )


def read_ssl_config(file: Path) -> TlsOptions:
    """Read the certificates of a file in the text format of SSLConfig; raises ConfigError."""
    where = f"SSL config file {file}"
    # The text is secret: the parser's message could quote the key.
    hint = r'expected such as server_cert: "-----BEGIN CERTIFICATE-----\n…"'
    message = parse_text_proto(read_config(file, where), SSLConfig, where, hint=hint, secret=True)
    labels = {"server_key": "PRIVATE KEY", "server_cert": "CERTIFICATE", "custom_ca": "CERTIFICATE"}
    for name, label in labels.items():
        value = getattr(message, name)
        if not value and name != "custom_ca":
            raise ConfigError(f"{where}: {name} is missing")
        if value and ("-----BEGIN" not in value or f"{label}-----" not in value):
            raise ConfigError(
                f"{where}: {name}: expected the text of a PEM file, with a line "
                rf"-----BEGIN {label}-----, and \n where lines end; not a path"
            )
    if message.client_verify and not message.custom_ca:
        raise ConfigError(f"{where}: client_verify needs custom_ca, whose clients are let in")
    _check_pair(message, where)
    return TlsOptions(
        message.server_key.encode(),
        message.server_cert.encode(),
        message.custom_ca.encode() if message.client_verify else None,
    )


def _check_pair(message: SSLConfig, where: str) -> None:
    """Check with OpenSSL, because gRPC accepts invalid files and then fails at every handshake."""
    import ssl  # loads OpenSSL

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:  # readable only by its owner
        key, certificate = Path(folder, "key"), Path(folder, "certificate")
        key.write_text(message.server_key)
        certificate.write_text(message.server_cert)
        try:
            # Without the argument, OpenSSL would prompt for a password.
            context.load_cert_chain(certificate, key, password="")
        except ssl.SSLError as error:
            raise ConfigError(
                f"{where}: server_key and server_cert are damaged, encrypted, or no pair "
                f"({error.reason or error})"
            ) from None
    if message.custom_ca:
        try:
            context.load_verify_locations(cadata=message.custom_ca)
        except ssl.SSLError as error:
            raise ConfigError(f"{where}: custom_ca is damaged ({error.reason or error})") from None


class GrpcServer:
    """Serves on a TCP port, a UNIX socket, or both."""

    def __init__(self, handlers: Handlers, options: GrpcOptions) -> None:
        self._admission = Admission(handlers)
        self._server = new_server(options, [self._admission])
        self._credentials: grpc.ServerCredentials | None = None
        if (tls := options.tls) is not None:
            self._credentials = grpc.ssl_server_credentials(
                [(tls.key, tls.certificate)],
                root_certificates=tls.authority,
                require_client_auth=tls.authority is not None,
            )
        self._streams = OpenStreams()
        self._socket_file: SocketFile | None = None
        # Optional services are imported only if enabled, so that the server starts quickly.
        self._health = None
        if options.health:
            from rockstar_serving.model_server.grpc_health_and_reflection import Health

            self._health = Health(self._server, self._streams)
        if options.reflection:
            from rockstar_serving.model_server.grpc_health_and_reflection import add_reflection

            add_reflection(self._server, self._streams, health=options.health)

    def listen(self, host: str, port: int) -> int:
        """Bind a TCP port, 0 for a free one; returns the port, or raises OSError."""
        # gRPC does not report why it cannot bind; a plain socket does.
        bind(host, port).close()
        return self._add(join(host, port))

    def listen_at(self, path: Path) -> None:
        """Bind a UNIX socket, or raise OSError; from then on it gets all new connections there."""
        file = SocketFile(path)
        file.check()
        self._add(f"unix:{quote(str(file.bound_as))}")
        file.publish()
        self._socket_file = file

    def start(self) -> None:
        """Start to handle calls."""
        self._server.start()

    def stop(self, grace: float) -> threading.Event:
        """Report NOT_SERVING and reject further calls; returns when no more arrive.

        The event is set when all calls in flight have ended, after `grace` seconds at most.
        """
        if self._socket_file is not None:
            self._socket_file.remove()
        if self._health is not None:
            self._health.enter_graceful_shutdown()
        self._admission.close(min(grace, PATIENCE_SECONDS))
        stopped = self._server.stop(grace)
        self._streams.end()
        return stopped

    def _add(self, address: str) -> int:
        try:
            if self._credentials is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            raise OSError(None, str(error)) from error
