"""The judge itself: what counts as right, as a clear error, as wrong, and as lost."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from tests.chaos.callers import Callers, Image
from tests.http_servers import Handler, handled_by
from tests.waiting import until

IMAGE = Image(b"png", np.zeros((1, 2, 2, 1), np.float32), "seven", 0.9)
RIGHT = {"version": 3, "predictions": [{"label": "seven", "score": 0.9}]}
OTHER = {"version": 3, "predictions": [{"label": "one", "score": 0.9}]}
PROBLEM = {"detail": "Too many requests.", "request_id": "1"}


def outcomes(service_url: str) -> set[tuple[str, int]]:
    service = SimpleNamespace(ports=[int(service_url.rpartition(":")[2])])
    callers = Callers(service, [IMAGE], kinds=("png", "png, new connection"))  # type: ignore[arg-type]
    with callers:
        until(lambda: len(callers.requests) > 4)
    return {(each.outcome, each.version) for each in callers.requests}


@pytest.mark.parametrize(
    ("status", "document", "outcome"),
    [
        (200, RIGHT, ("right", 3)),
        (200, OTHER, ("wrong", 0)),
        (429, PROBLEM, ("error", 0)),
        (503, {"error": "no model server answers"}, ("error", 0)),
        (500, PROBLEM, ("wrong", 0)),
        (503, {"detail": "without the id of the request"}, ("wrong", 0)),
        (404, PROBLEM, ("wrong", 0)),
        (None, {}, ("lost", 0)),
    ],
)
def test_an_answer(status, document, outcome):
    class Service(Handler):
        def do_POST(self):  # noqa: N802
            self.rfile.read(int(self.headers["Content-Length"]))
            headers = {"Content-Type": "application/json"}
            if status is not None:
                headers["X-Request-ID"] = self.headers["X-Request-ID"]
                self.respond(status, json.dumps(document).encode(), headers)

    with handled_by(Service) as url:
        assert outcomes(url) == {outcome}


def test_the_answer_to_another_request():
    class Service(Handler):
        def do_POST(self):  # noqa: N802
            self.respond(200, json.dumps(RIGHT).encode(), {"X-Request-ID": "another"})

    with handled_by(Service) as url:
        assert outcomes(url) == {("wrong", 0)}
