"""`python -m rockstar_serving.probe URL`: a health check for containers.

It exits with status 0 if the server is healthy, else with 1 and a line that says why. A URL
http://HOST:PORT/PATH or https://… must return status 200; the certificate is not verified.
grpc://HOST:PORT must be SERVING by grpc.health.v1.
"""

import http.client
import ssl
import sys
from urllib.parse import SplitResult, urlsplit

# Less than what container engines usually give a check.
TIMEOUT_S = 2.0


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
    """Send one request.

    Args:
        url: of the server.
        timeout: in seconds.

    Returns:
        Why the server is not healthy; "" if it is.
    """
    parts = urlsplit(url)
    if parts.scheme not in _CHECKS or not parts.hostname:
        return f"expected http[s]://HOST:PORT/PATH or grpc://HOST:PORT, got {url!r}"
    try:
        problem = _CHECKS[parts.scheme](parts, timeout)
    except (OSError, ValueError, http.client.HTTPException) as error:
        problem = str(error) or type(error).__name__
    return f"{url}: {problem}" if problem else ""


def _http(url: SplitResult, timeout: float) -> str:
    host, port = url.hostname or "", url.port
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    if url.scheme == "https":
        # The server is this machine's own, and its certificate has another name.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
    try:
        connection.request("GET", url.path or "/")
        status = connection.getresponse().status
        return "" if status == http.HTTPStatus.OK else f"answers {status}"
    finally:
        connection.close()


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
