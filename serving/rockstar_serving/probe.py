"""`python -m rockstar_serving.probe URL`: a health check for containers.

Ends with status 0 where it does, else with 1 and a line that says why. http://HOST:PORT/PATH must
answer 200; grpc://HOST:PORT must be SERVING by grpc.health.v1.
"""

import http.client
import sys
from urllib.parse import SplitResult, urlsplit

# Less than what container engines usually give a check.
TIMEOUT_S = 2.0


def main(arguments: list[str]) -> int:
    """Ask once; returns the exit status."""
    if len(arguments) != 1:
        return _say(
            "expected one URL, such as http://127.0.0.1:8080/livez or grpc://127.0.0.1:8500"
        )
    url = urlsplit(arguments[0])
    if url.scheme not in _ASK or not url.hostname:
        return _say(f"expected http://HOST:PORT/PATH or grpc://HOST:PORT, got {arguments[0]!r}")
    try:
        trouble = _ASK[url.scheme](url)
    except (OSError, ValueError, http.client.HTTPException) as error:
        trouble = str(error) or type(error).__name__
    return _say(f"{url.geturl()}: {trouble}") if trouble else 0


def _http(url: SplitResult) -> str:
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", url.path or "/")
        answer = connection.getresponse()
        return "" if answer.status == http.HTTPStatus.OK else f"answers {answer.status}"
    finally:
        connection.close()


def _grpc(url: SplitResult) -> str:
    # A check of HTTP has no use for it, and starts sooner without.
    import grpc
    from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
    from grpc_health.v1.health_pb2_grpc import HealthStub

    with grpc.insecure_channel(url.netloc, [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = HealthStub(channel).Check(HealthCheckRequest(), timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    name: str = HealthCheckResponse.ServingStatus.Name(answer.status)
    return "" if answer.status == HealthCheckResponse.SERVING else f"is {name}"


def _say(trouble: str) -> int:
    sys.stderr.write(f"{trouble}\n")
    return 1


_ASK = {"http": _http, "grpc": _grpc}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
