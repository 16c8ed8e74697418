"""Loads a version and replays its warmup requests: the first caller does not wait for buffers."""

import logging
import time
from pathlib import Path

from google.protobuf.message import DecodeError

from rockstar_serving.model_server.engines.engine import Engine, Loader, LoadError, ServableId
from rockstar_serving.model_server.engines.litert import LiteRTEngine
from rockstar_serving.model_server.observer import Observer
from rockstar_serving.model_server.options import WarmupOptions
from rockstar_serving.model_server.warmup.replay import asked_signatures, replay
from rockstar_serving.model_server.warmup.tfrecord import TFRecordError, read_records
from tfs_api.messages.prediction_log_pb2 import PredictionLog
from tfs_api.status import Code, StatusError

log = logging.getLogger(__name__)

# Where TensorFlow Serving looks, and how many records it takes.
WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")
MAX_RECORDS = 1000


class WarmingLoader:
    """A Loader around another one.

    A request that fails keeps the version from loading, as in TensorFlow Serving, with one
    exception: a LiteRT file seldom has all the signatures of the SavedModel beside it, for which
    the requests were written, so requests for a signature that it lacks are skipped.
    """

    def __init__(
        self,
        load: Loader,
        options: WarmupOptions,
        *,
        check_method: bool = False,
        observer: Observer | None = None,
    ) -> None:
        """Wrap a loader.

        Args:
            load: loads the versions.
            options: how often requests are replayed.
            check_method: whether signatures must be of a request's method.
            observer: hears of warmups.
        """
        self._load = load
        self._iterations = options.iterations
        self._check_method = check_method
        self._observer = observer

    def __call__(self, servable_id: ServableId, folder: Path) -> Engine:
        """Load a version and warm it up.

        Raises:
            LoadError: it cannot be loaded, or a warmup request cannot be read or answered.
        """
        engine = self._load(servable_id, folder)
        file = folder / WARMUP_FILE
        if not file.exists():
            return engine
        warmup = _Warmup(engine, self._iterations, check_method=self._check_method)
        started = time.perf_counter()
        code = Code.INTERNAL
        try:
            warmup.run(file)
            code = Code.OK
        except StatusError as error:
            code = error.code
            raise LoadError(
                f"warmup file {file}: {error.message}: write it again, or serve without it "
                "(--enable_model_warmup=false)"
            ) from error
        finally:
            seconds = time.perf_counter() - started
            if code != Code.OK:
                engine.close()
            if self._observer is not None:
                self._observer.warmup(folder, code, seconds, warmup.records)
        warmup.report(servable_id, seconds)
        return engine


class _Warmup:
    """The replay of one file, and what became of its records.

    Attributes:
        records: that were read and could be used.
    """

    def __init__(self, engine: Engine, iterations: int, *, check_method: bool) -> None:
        self._engine = engine
        self._iterations = iterations
        self._check_method = check_method
        self.records = 0
        self._requests = 0
        self._passed_over = 0
        self._skipped = 0
        self._missing: set[str] = set()

    def run(self, file: Path) -> None:
        """Replay all records.

        Raises:
            StatusError: the file or a record of it cannot be used.
        """
        try:
            for number, data in enumerate(read_records(file), start=1):
                if number > MAX_RECORDS:
                    raise _invalid(f"it has more than {MAX_RECORDS} records")
                self._take(number, data)
                self.records = number
        except TFRecordError as error:
            message = f"{error}; it must be an uncompressed TFRecord file"
            raise StatusError(Code.DATA_LOSS, message) from error
        except OSError as error:
            raise StatusError(Code.UNKNOWN, f"it cannot be read ({error.strerror})") from error

    def report(self, servable_id: ServableId, seconds: float) -> None:
        """Log what was done."""
        log.info(
            "%s: warmed up with %d requests in %d ms",
            *(servable_id, self._requests, round(seconds * 1000)),
        )
        if self._skipped:
            log.warning(
                "%s: skipped %d warmup requests: %s has no signature %s",
                *(servable_id, self._skipped, self._engine.name, ", ".join(sorted(self._missing))),
            )
        if self._passed_over:
            log.warning(
                "%s: passed over %d warmup records of a kind that is not replayed",
                *(servable_id, self._passed_over),
            )

    def _take(self, number: int, data: bytes) -> None:
        try:
            record = PredictionLog.FromString(data)
        except DecodeError as error:
            raise _invalid(f"record {number} is no PredictionLog message") from error
        missing = set(asked_signatures(record)) - self._engine.signatures.keys()
        if missing and self._engine.name == LiteRTEngine.name:
            self._skipped += 1
            self._missing |= missing
            return
        try:
            self._replay(record)
        except StatusError as error:
            code, reason = error.code, error.message
        except Exception as error:  # whatever a runtime raises
            code, reason = Code.INTERNAL, f"the model fails on it ({error})"
        else:
            return
        raise StatusError(code, f"record {number} ({record.WhichOneof('log_type')}): {reason}")

    def _replay(self, record: PredictionLog) -> None:
        for _ in range(self._iterations):
            if not replay(self._engine, record, check_method=self._check_method):
                self._passed_over += 1
                return
            self._requests += 1


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
