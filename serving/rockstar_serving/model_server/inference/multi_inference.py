"""MultiInference: several signatures of one model on the same tf.Examples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from rockstar_serving.model_server.engines.engine import Engine
from rockstar_serving.model_server.inference.classify import (
    Classification,
    classification,
    classification_fetches,
)
from rockstar_serving.model_server.inference.examples import Outputs, run_on_examples
from rockstar_serving.model_server.inference.predict import SignatureNotFoundError
from rockstar_serving.model_server.inference.regress import (
    Regression,
    regression,
    regression_fetches,
)
from tfs_api.signature import CLASSIFY_METHOD, DEFAULT_SIGNATURE, REGRESS_METHOD
from tfs_api.status import Code, StatusError

Result = Classification | Regression


@dataclass(frozen=True)
class Task:
    """One signature to run.

    Attributes:
        model: name, the same for all tasks of a request.
        method_name: CLASSIFY_METHOD or REGRESS_METHOD.
        signature_name: "" for serving_default.
    """

    model: str
    method_name: str
    signature_name: str = ""


@dataclass(frozen=True)
class MultiInferenceQuery:
    """What a request asks of a model.

    Attributes:
        tasks: at least one.
        examples: serialized tf.Examples, for all tasks.
        deadline: until when somebody waits.
    """

    tasks: Sequence[Task]
    examples: Sequence[bytes]
    deadline: Deadline = NO_DEADLINE


def multi_inference(
    engine: Engine, query: MultiInferenceQuery, *, check_method: bool = False
) -> list[Result]:
    """Run each task with a loaded version, once all of them are known to be possible.

    TensorFlow Serving runs the tasks as one graph. An engine runs a signature at a time, so here
    they run one after the other; what they answer is the same.

    Args:
        engine: of the version.
        query: the tasks.
        check_method: whether signatures must be of their task's method.

    Raises:
        StatusError: INVALID_ARGUMENT (tasks that do not go together, or as of classify() and
            regress()), UNIMPLEMENTED (a method that is neither), or of the engine.
    """
    fetches: dict[str, list[str]] = {}
    for task in query.tasks:
        _check_model(task, query.tasks[0])
        name = task.signature_name or DEFAULT_SIGNATURE
        if name in fetches:
            raise _invalid(f"Duplicate evaluation of signature: {name}")
        fetches[name] = _fetches(engine, name, task.method_name, check_method=check_method)
    results = []
    for task, (name, names) in zip(query.tasks, fetches.items(), strict=True):
        outputs = run_on_examples(engine, name, query.examples, names, query.deadline)
        results.append(_METHODS[task.method_name].read(name, outputs, len(query.examples)))
    return results


class _Method(NamedTuple):
    """How the signatures of a method are read."""

    fetches: Callable[..., list[str]]
    read: Callable[[str, Outputs, int], Result]


_METHODS = {
    CLASSIFY_METHOD: _Method(classification_fetches, classification),
    REGRESS_METHOD: _Method(regression_fetches, regression),
}


def _check_model(task: Task, first: Task) -> None:
    if not task.model:
        raise _invalid("Found ModelSpec with an empty model name.")
    if task.model != first.model:
        raise _invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")


def _fetches(engine: Engine, name: str, method_name: str, *, check_method: bool) -> list[str]:
    signature = engine.signatures.get(name)
    if signature is None:
        raise SignatureNotFoundError(
            name,
            Code.INVALID_ARGUMENT,
            "Requested signature not found in model graph: {}",
        )
    method = _METHODS.get(method_name)
    if method is None:
        raise StatusError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {method_name}")
    return method.fetches(signature, check_method=check_method)


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
