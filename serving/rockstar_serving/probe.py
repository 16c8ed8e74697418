"""`python -m rockstar_serving.probe URL`: a health check for containers.

It exits with status 0 if the server is healthy, else with 1 and a line that says why. A URL
http://HOST:PORT/PATH or https://… must return status 200; the certificate is not verified.
grpc://HOST:PORT must be SERVING by grpc.health.v1.
"""

import socket
import sys
from urllib.parse import SplitResult, urlsplit

# Less than what container engines usually give a check.
TIMEOUT_S = 2.0
# Bytes of a status line.
_LONGEST_LINE = 1000


def main(arguments: list[str]) -> int:
    """Check one URL; returns the exit status."""
    if len(arguments) == 1:
        problem = check(arguments[0])
    else:
        problem = "expected one URL, such as http://127.0.0.1:8080/livez or grpc://127.0.0.1:8500"
    if problem:
        sys.stderr.write(f"{problem}\n")
    return 1 if problem else 0


def check(url: str, timeout: float = TIMEOUT_S) -> str:
    """Say why the server at a URL is not healthy, or "" if it is; the timeout is in seconds."""
    parts = urlsplit(url)
    if parts.scheme not in _CHECKS or not parts.hostname:
        return f"expected http[s]://HOST:PORT/PATH or grpc://HOST:PORT, got {url!r}"
    try:
        problem = _CHECKS[parts.scheme](parts, timeout)
    except (OSError, ValueError) as error:
        problem = str(error) or type(error).__name__
    return f"{url}: {problem}" if problem else ""


def _http(url: SplitResult, timeout: float) -> str:
    # http.client would take half of the time of a check, and 5 MB in the process that repeats it.
    tls = url.scheme == "https"
    port = url.port or (443 if tls else 80)
    connection = socket.create_connection((url.hostname or "", port), timeout)
    if tls:
        import ssl

        # The server is this machine's own, and its certificate has another name.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with connection:
            connection = context.wrap_socket(connection)
    with connection, connection.makefile("rb") as response:
        request = f"GET {url.path or '/'} HTTP/1.0\r\nHost: {url.netloc}\r\n\r\n"
        connection.sendall(request.encode())
        version, _, status = response.readline(_LONGEST_LINE).strip().partition(b" ")
    if not version.startswith(b"HTTP/"):
        return "closes the connection" if not version else "does not speak HTTP"
    return "" if status.startswith(b"200") else f"answers {status[:3].decode('latin-1')}"


def _grpc(url: SplitResult, timeout: float) -> str:
    # Imported here: an HTTP check starts sooner without.
    import grpc
    from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
    from grpc_health.v1.health_pb2_grpc import HealthStub

    with grpc.insecure_channel(url.netloc, [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            response = HealthStub(channel).Check(HealthCheckRequest(), timeout=timeout)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    name: str = HealthCheckResponse.ServingStatus.Name(response.status)
    return "" if response.status == HealthCheckResponse.SERVING else f"is {name}"


_CHECKS = {"http": _http, "https": _http, "grpc": _grpc}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
