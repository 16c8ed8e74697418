"""One record of a warmup file on an engine."""

from rockstar_serving.model_server.engines.engine import Engine
from rockstar_serving.model_server.inference.classify import classify
from rockstar_serving.model_server.inference.examples_request import (
    examples_query,
    multi_inference_query,
)
from rockstar_serving.model_server.inference.multi_inference import multi_inference
from rockstar_serving.model_server.inference.predict import predict
from rockstar_serving.model_server.inference.predict_request import predict_query
from rockstar_serving.model_server.inference.regress import regress
from tfs_api.messages.prediction_log_pb2 import PredictionLog
from tfs_api.signature import DEFAULT_SIGNATURE
from tfs_api.status import Code, StatusError


def asked_signatures(record: PredictionLog) -> list[str]:
    """The signatures that a record's request asks for."""
    match record.WhichOneof("log_type"):
        case "predict_log":
            specs = [record.predict_log.request.model_spec]
        case "classify_log":
            specs = [record.classify_log.request.model_spec]
        case "regress_log":
            specs = [record.regress_log.request.model_spec]
        case "multi_inference_log":
            specs = [task.model_spec for task in record.multi_inference_log.request.tasks]
        case _:
            specs = []
    return [spec.signature_name or DEFAULT_SIGNATURE for spec in specs]


def replay(engine: Engine, record: PredictionLog, *, check_method: bool = False) -> bool:
    """Run a record's request, whatever model and version it names.

    Args:
        engine: of the version that is warmed up.
        record: with the request.
        check_method: whether signatures must be of the request's method.

    Returns:
        Whether there was one to run: of kinds that TensorFlow Serving passes over, there is none.

    Raises:
        StatusError: of the request, or UNIMPLEMENTED for a kind that TensorFlow Serving refuses.
    """
    match record.WhichOneof("log_type"):
        case "predict_log":
            query = predict_query(record.predict_log.request)
            predict(engine, query, check_method=check_method)
        case "classify_log":
            examples = examples_query(record.classify_log.request)
            classify(engine, examples, check_method=check_method)
        case "regress_log":
            examples = examples_query(record.regress_log.request)
            regress(engine, examples, check_method=check_method)
        case "multi_inference_log":
            tasks = multi_inference_query(record.multi_inference_log.request)
            multi_inference(engine, tasks, check_method=check_method)
        case "session_run_log":
            raise StatusError(Code.UNIMPLEMENTED, "this kind of record cannot be replayed")
        case _:
            return False
    return True
