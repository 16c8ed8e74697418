"""Warmup: replay the requests that come with a version before it is available.

They are in a TFRecord file, which is read without TensorFlow. A record is its length (uint64), the
masked CRC-32C of these eight bytes (uint32), the data, and the masked CRC-32C of the data (uint32),
all little-endian: tensorflow/core/lib/io/record_writer.h.
"""

import logging
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google_crc32c
from google.protobuf.message import DecodeError

from rockstar_contract.text_files import open_regular
from rockstar_serving.model_server.core import predict, predict_query
from rockstar_serving.model_server.engines.engine import Engine, LoadError, ServableId
from rockstar_serving.model_server.engines.litert import LiteRTEngine
from rockstar_serving.model_server.examples import (
    classify,
    examples_query,
    multi_inference,
    multi_inference_query,
    regress,
)
from tfs_api.messages.prediction_log_pb2 import PredictionLog
from tfs_api.signature import DEFAULT_SIGNATURE
from tfs_api.status import Code, StatusError, invalid

if TYPE_CHECKING:
    from rockstar_serving.model_server.monitoring import Monitoring

log = logging.getLogger(__name__)

# File and maximum number of records, as in TensorFlow Serving.
WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")
MAX_RECORDS = 1000

# By kind of record: how its request is run. TensorFlow Serving passes over unknown kinds.
_REPLAYED: dict[str, tuple[Callable[..., Any], Callable[[Any], Any]]] = {
    "predict_log": (predict, predict_query),
    "classify_log": (classify, examples_query),
    "regress_log": (regress, examples_query),
    "multi_inference_log": (multi_inference, multi_inference_query),
}
_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_HEADER_BYTES = _LENGTH.size + _CHECKSUM.size


def warm_up(
    engine: Engine,
    servable_id: ServableId,
    folder: Path,
    *,
    iterations: int = 1,
    check_method: bool = False,
    observer: "Monitoring | None" = None,
) -> None:
    """Replay the warmup requests of a version, if it has any, each a number of times.

    A request that cannot be read or fails closes the engine and raises LoadError, as in TensorFlow
    Serving, with one exception: a LiteRT file may lack signatures of the SavedModel for which the
    requests were written, so requests for missing signatures are skipped. With check_method,
    signatures must have the method of the request.
    """
    file = folder / WARMUP_FILE
    if not file.exists():
        return
    started = time.perf_counter()
    code, records, passed_over = Code.INTERNAL, 0, 0
    skipped: list[set[str]] = []  # for each skipped record, the signatures that are missing
    try:
        for data in read_records(file):
            if records == MAX_RECORDS:
                raise invalid(f"it has more than {MAX_RECORDS} records")
            kind, request = _read_request(records + 1, data)
            if kind not in _REPLAYED:
                passed_over += 1
            elif missing := _missing_signatures(engine, kind, request):
                skipped.append(missing)
            else:
                run, make_query = _REPLAYED[kind]
                with _naming(f"record {records + 1} ({kind})"):
                    for _ in range(iterations):
                        run(engine, make_query(request), check_method=check_method)
            records += 1
        code = Code.OK
    except (StatusError, OSError) as error:
        code, message = Code.UNKNOWN, f"it cannot be read ({getattr(error, 'strerror', '')})"
        if isinstance(error, StatusError):
            code, message = error.code, error.message
        raise LoadError(
            f"warmup file {file}: {message}: write it again, or serve without it "
            "(--enable_model_warmup=false)"
        ) from error
    finally:
        seconds = time.perf_counter() - started
        if code != Code.OK:
            engine.close()
        if observer is not None:
            observer.warmup(folder, code, seconds, records)
    requests = (records - passed_over - len(skipped)) * iterations
    log.info("%s: warmed up with %d requests in %d ms", servable_id, requests, seconds * 1000)
    if skipped:
        log.warning(
            "%s: skipped %d warmup requests: %s has no signature %s",
            *(servable_id, len(skipped), engine.name, ", ".join(sorted(set().union(*skipped)))),
        )
    if passed_over:
        log.warning(
            "%s: passed over %d warmup records of a kind that is not replayed",
            servable_id,
            passed_over,
        )


def _read_request(number: int, data: bytes) -> tuple[str, Any]:
    """The kind of a record, "" if unknown, and its request, None if it is passed over."""
    try:
        record = PredictionLog.FromString(data)
    except DecodeError as error:
        raise invalid(f"record {number} is not a PredictionLog message") from error
    kind = record.WhichOneof("log_type") or ""
    if kind in ("session_run_log", "predict_streamed_log"):
        message = f"record {number} ({kind}): this kind of record cannot be replayed"
        raise StatusError(Code.UNIMPLEMENTED, message)
    return kind, getattr(record, kind).request if kind in _REPLAYED else None


def _missing_signatures(engine: Engine, kind: str, request: Any) -> set[str]:
    """The signatures of a request that a LiteRT file lacks."""
    if engine.name != LiteRTEngine.name:
        return set()
    tasks = request.tasks if kind == "multi_inference_log" else [request]
    names = {task.model_spec.signature_name or DEFAULT_SIGNATURE for task in tasks}
    return names - engine.signatures.keys()


@contextmanager
def _naming(record: str) -> Iterator[None]:
    """Name the record in errors of its request, which a runtime may raise of any kind."""
    try:
        yield
    except StatusError as error:
        raise StatusError(error.code, f"{record}: {error.message}") from error
    except Exception as error:
        raise StatusError(Code.INTERNAL, f"{record}: the model fails on it ({error})") from error


def read_records(path: Path) -> Iterator[bytes]:
    """Read an uncompressed TFRecord file; raises OSError, or DATA_LOSS if it is damaged."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        while (start := file.tell()) < size:
            header = file.read(_HEADER_BYTES)
            if len(header) < _HEADER_BYTES:
                raise _damaged(f"truncated record at byte {start}: its header is cut off")
            _check(header[: _LENGTH.size], header[_LENGTH.size :], start)
            (length,) = _LENGTH.unpack_from(header)
            # Before reading: a length may be wrong even if its checksum is right.
            if length > size - file.tell() - _CHECKSUM.size:
                raise _damaged(
                    f"truncated record at byte {start}: it has {length} bytes of data, the file "
                    "ends sooner"
                )
            data = file.read(length)
            _check(data, file.read(_CHECKSUM.size), start)
            yield data


def masked_crc32c(data: bytes) -> int:
    """The checksum as the format stores it: CRC-32C, rotated, plus a constant."""
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def _check(data: bytes, checksum: bytes, start: int) -> None:
    if checksum != _CHECKSUM.pack(masked_crc32c(data)):
        raise _damaged(f"corrupted record at byte {start}: a checksum does not match")


def _damaged(problem: str) -> StatusError:
    return StatusError(Code.DATA_LOSS, f"{problem}; it must be an uncompressed TFRecord file")
