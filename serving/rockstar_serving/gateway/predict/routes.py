"""`POST /predict/<model>`: examples in, labels or numbers out."""

from flask import Response, request

from rockstar_client import predictor
from rockstar_client.errors import NotFoundError
from rockstar_contract.contract import Contract, Input
from rockstar_serving.gateway.arguments import flag, only, positive, share, version_or_label
from rockstar_serving.gateway.context import RequestContext, context
from rockstar_serving.gateway.errors import not_found
from rockstar_serving.gateway.predict.answers import (
    CSV,
    NPY,
    Judgement,
    accepted_type,
    accepts_json,
    as_csv,
    as_json,
    as_npy,
    judge,
)
from rockstar_serving.gateway.predict.batch import Batch
from rockstar_serving.gateway.predict.bodies import read_examples
from rockstar_serving.gateway.state import gateway

DEFAULT_TOP = 3


def predict(model: str) -> Response:
    """Predict the examples in the body.

    `?version=` or `?label=` picks a version, `?top=` says how many labels are listed, `?threshold=`
    what score an answer must have, `?partial=true` that bad examples are answered as errors beside
    the good ones, `?strict=true` that rows must have all columns of the model and no others.
    `Accept` picks JSON, CSV or .npy.
    """
    given = only("version", "label", "top", "threshold", "partial", "strict")
    version, label = version_or_label(given)
    top, threshold = positive(given, "top"), share(given, "threshold")
    partial, strict = flag(given, "partial"), flag(given, "strict")
    accept = request.headers.get("Accept")
    accepted = accepted_type(accept)
    # A table has one column for each label listed: the likeliest alone, unless more are asked for.
    top = top or (1 if accepted == CSV else DEFAULT_TOP)
    here, current = gateway(), context()
    current.model = model
    with current.phase("preprocess"):
        examples = read_examples(request, here.config)
        batch = Batch(examples, here.config, partial=partial, strict=strict)
    try:
        answer = here.predictor.predict(
            model,
            lambda spec: _prepared(batch, current, spec),
            version=version,
            label=label,
            timeout=current.time_left(),
        )
    except NotFoundError as error:
        raise not_found(model, version, label) from error
    current.instances = batch.size
    contract = answer.contract
    here.observer.judged(current, batch.originals, answer)
    with current.phase("postprocess"):
        if accepted == NPY and not (contract.task == "tensors" and accepts_json(accept)):
            return _versioned(as_npy(answer, batch.problems), contract)
        items = judge(answer, batch.problems, Judgement(top, threshold))
        if accepted == CSV:
            return _versioned(as_csv(contract, items, top, batch.adjusted), contract)
        return as_json(model, contract.version, items, batch.adjusted)


def _prepared(batch: Batch, current: RequestContext, spec: Input) -> predictor.Batch:
    with current.phase("preprocess"):
        return batch.prepare(spec)


def _versioned(response: Response, contract: Contract) -> Response:
    """Say in a header which version answered, where the body has no place for it."""
    response.headers["X-Model-Version"] = str(contract.version)
    return response
