"""The model server with a profile of each REST request.

    python -m benchmarks.rest_profile PROFILE [flags of the model server]

Writes one line of JSON per request to PROFILE: milliseconds of CPU time by stage, and `total`, from
the first bytes of the request until the response is passed to the kernel. It expects one client
that sends one request after the other.
"""

import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO

import orjson

from rockstar_serving.model_server import command as program
from rockstar_serving.model_server.engines.litert import LiteRTEngine
from rockstar_serving.model_server.rest_server import Connection, RestApp
from tfs_api import json_request, json_response

LIBRARY = "JSON library"
MODEL = "model"


class Stages:
    """Seconds of CPU time by stage of wrapped functions; a nested stage counts only for itself."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._open = threading.local()

    def wrap(self, owner: Any, name: str, stage: str) -> None:
        """Add the time of a module's function or a class's method to a stage."""
        function = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            return self.call(stage, lambda: function(*args, **kwargs))

        setattr(owner, name, timed)

    def call(self, stage: str, function: Callable[[], Any]) -> Any:
        """Call a function and add its time to a stage."""
        inner: list[float] = self._open.__dict__.setdefault("inner", [0.0])
        inner.append(0.0)
        started = time.thread_time()
        try:
            return function()
        finally:
            spent = time.thread_time() - started
            self.seconds[stage] += spent - inner.pop()
            inner[-1] += spent


def main() -> int:
    """Serve, and write the profile."""
    with Path(sys.argv[1]).open("w", buffering=1, encoding="utf-8") as profile:
        _measure(profile)
        return program.main(sys.argv[2:])


def _measure(profile: TextIO) -> None:
    stages = Stages()
    stages.wrap(Connection, "data_received", "receive")
    library = SimpleNamespace(**vars(orjson))
    stages.wrap(library, "loads", LIBRARY)
    stages.wrap(library, "dumps", LIBRARY)
    vars(json_request)["orjson"] = vars(json_response)["orjson"] = library
    stages.wrap(json_request, "feeds", "check and cast")
    stages.wrap(LiteRTEngine, "run", MODEL)
    stages.wrap(json_response, "response", "round and frame")
    _by_request(stages, profile)


def _by_request(stages: Stages, profile: TextIO) -> None:
    connection_class: Any = Connection
    app_class: Any = RestApp
    receive, handle = connection_class.data_received, app_class.__call__
    first = 0.0

    def data_received(connection: Any, data: bytes) -> None:
        nonlocal first
        if not connection.busy:
            first = time.process_time()
        receive(connection, data)

    async def handle_with_profile(app: Any, scope: Any, receive_body: Any, send: Any) -> None:
        arrived = first  # the next request overwrites it
        await handle(app, scope, receive_body, send)
        total = time.process_time() - arrived
        seconds = {**stages.seconds, "total": total}
        stages.seconds.clear()
        line = {stage: round(spent * 1000, 3) for stage, spent in seconds.items()}
        profile.write(json.dumps(line) + "\n")

    connection_class.data_received, app_class.__call__ = data_received, handle_with_profile


if __name__ == "__main__":
    sys.exit(main())
