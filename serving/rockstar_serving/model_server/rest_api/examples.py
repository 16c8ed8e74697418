"""Classify and regress over REST."""

from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from rockstar_serving.model_server.inference.core import Core
from rockstar_serving.model_server.inference.examples import ExamplesQuery
from rockstar_serving.model_server.inference.examples_request import examples_of
from tfs_api import json_results
from tfs_api.json_examples import ExamplesRequest, parse_request
from tfs_api.model_ref import ModelRef


def classify(
    core: Core, ref: ModelRef, body: bytes | memoryview, deadline: Deadline = NO_DEADLINE
) -> bytes:
    """Answer `:classify`.

    Raises:
        StatusError: INVALID_ARGUMENT, a body that is no such request; or of Core.classify().
    """
    _, found = core.classify(ref, _query(parse_request(body), deadline))
    return json_results.classification(found.labels, found.scores)


def regress(
    core: Core, ref: ModelRef, body: bytes | memoryview, deadline: Deadline = NO_DEADLINE
) -> bytes:
    """Answer `:regress`.

    Raises:
        StatusError: INVALID_ARGUMENT, a body that is no such request; or of Core.regress().
    """
    _, found = core.regress(ref, _query(parse_request(body), deadline))
    return json_results.regression(found.values)


def _query(request: ExamplesRequest, deadline: Deadline) -> ExamplesQuery:
    return ExamplesQuery(examples_of(request.input), request.signature_name, deadline)
