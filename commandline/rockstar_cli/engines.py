"""`rockstar predict --engine`: bulk prediction without a service, on this machine or a cluster.

The input is cut into parts in its order. A worker reads the items of a part, predicts them, and
writes `part-NUMBER-HASH.parquet`, which appears when it is complete. The hash is of the items, the
model and the options. So a run that is repeated skips the parts that exist, and detects another
input. `_SUCCESS`, as Spark writes it, marks a complete output.
"""

import multiprocessing
import os
import pickle
import re
import signal
import socket
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, reduce
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rockstar_client.bulk import BulkError, ResumeError
from rockstar_client.bulk.batch_client import AdjustmentCounts
from rockstar_client.bulk.items import Item
from rockstar_client.bulk.job import Summary, batches
from rockstar_client.bulk.output import extend_chain
from rockstar_client.bulk.parquet import first_line, is_url, locate
from rockstar_client.errors import CallError
from rockstar_contract.text_files import utf8_name
from rockstar_serving import load, registry
from rockstar_serving.model_folder import find_models
from rockstar_serving.model_server.engines.engine import LoadError

if TYPE_CHECKING:
    from rockstar_serving.local_model import LocalModel

PART_ITEMS = 1024
_PART_BYTES = 64 * 2**20
_READERS = 16
_PART = re.compile(r"part-(\d{5,})-[0-9a-f]{16}\.parquet")
_DONE = "_SUCCESS"


@dataclass(frozen=True)
class Part:
    """Some items, and the name of the file with their predictions."""

    name: str
    items: list[Item]


@dataclass(frozen=True)
class Written:
    """The numbers of items and of failed ones in a part, and the totals of AdjustmentCounts."""

    items: int
    failed: int
    adjusted: tuple[int, tuple[Counter[str], ...]]


@dataclass(frozen=True)
class PartWriter:
    """Predicts the items of parts, in any process, and writes them to a folder or object store."""

    model: "LocalModel"
    output: str

    def __call__(self, part: Part) -> Written:
        """Write a part."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = [utf8_name(item.name) for item in part.items]
        counts = AdjustmentCounts()
        with ThreadPoolExecutor(_READERS) as pool:
            items = [_read_ahead(item, pool) for item in part.items]
            columns = {"item": names, **self.model.columns(self.model.results(items, counts))}
        types = {str: pa.string(), float: pa.float64(), int: pa.int64()}
        kinds = {"item": str, **self.model.column_types}
        schema = pa.schema([(name, types[kind]) for name, kind in kinds.items()])
        failed = len(names) - columns["error"].count(None)
        system, folder = locate(self.output)
        # An object appears when it is complete.
        aside = part.name if is_url(self.output) else f".{part.name}.{os.getpid()}"
        try:
            table = pa.table(columns, schema)
            pq.write_table(table, f"{folder}/{aside}", filesystem=system, compression="zstd")
            if aside != part.name:
                system.move(f"{folder}/{aside}", f"{folder}/{part.name}")
        except OSError as error:
            raise BulkError(f"{self.output} cannot be written: {first_line(error)}") from error
        return Written(len(names), failed, counts.totals)


def _read_ahead(item: Item, pool: ThreadPoolExecutor) -> Item:
    """Begin to read an item of an object store, which takes longer than to predict it."""
    if not is_url(item.name):
        return item
    return item._replace(read=pool.submit(item.read).result)


def find_version(models: Path, model: str | None, version: int | None) -> Path:
    """The folder of a model's version, by default of the highest that is served.

    Raises a BulkError for no such model, or several to choose from, else a ModelFolderError.
    """
    found = find_models(models)
    if model is None and len(found) == 1:
        model = next(iter(found))
    if model not in found:
        got = f"there is no model {model} in {models}" if model else f"{models} has several models"
        raise BulkError(f"{got}: choose --model {' | '.join(found)}")
    return registry.find_version(models, model, version)


def open_model(folder: Path, top: int, strict: bool) -> "LocalModel":
    """Load a version; raises BulkError."""
    try:
        return load(folder, top=top, strict=strict)
    except LoadError as error:
        raise BulkError(str(error)) from error


def run(
    items: Iterable[Item],
    write: PartWriter,
    engine: str,
    *,
    workers: int,
    part_items: int = PART_ITEMS,
    restart: bool = False,
    counts: AdjustmentCounts,
    on_progress: Callable[[int, int], None] = lambda _items, _failed: None,
) -> Summary:
    """Write the parts that are missing in the output, and mark it as complete.

    Args:
        items: the same, in the same order, as in the runs that this one continues.
        write: the model and the output.
        engine: a name in ENGINES.
        workers: processes.
        part_items: the maximum of items in a part.
        restart: replace the parts of the output.
        counts: collects what was imputed and ignored in rows.
        on_progress: called with the numbers of done and of failed items.

    Raises a BulkError if the output cannot be used, has parts with other items, options or another
    model, or if a worker ended.
    """
    started = time.monotonic()
    existing = _find_parts(write.output, restart=restart)
    numbers = predicted = skipped = failed = 0

    def missing() -> Iterator[Part]:
        nonlocal numbers, skipped, failed
        for part in _cut(items, write.model, part_items):
            name = existing.pop(numbers, "")
            numbers += 1
            if name not in ("", part.name):
                raise ResumeError(
                    f"{write.output} has predictions of another input, model, --top, --strict or "
                    f"--batch ({name}); use --restart to replace them, or choose another output"
                )
            counted = _count(write.output, name) if name else None
            if counted is None:
                yield part
            else:
                skipped, failed = skipped + counted[0], failed + counted[1]

    for written in ENGINES[engine](write, missing(), workers):
        predicted, failed = predicted + written.items, failed + written.failed
        counts.merge(written.adjusted)
        on_progress(predicted + skipped, failed)
    if existing:
        name = min(existing.values())
        raise ResumeError(
            f"{write.output} has more parts than this input ({name}); use --restart to replace them"
        )
    if numbers:
        system, folder = locate(write.output)
        with system.open_output_stream(f"{folder}/{_DONE}"):
            pass
    return Summary(predicted + skipped, failed, skipped, time.monotonic() - started)


def _cut(items: Iterable[Item], model: "LocalModel", part_items: int) -> Iterator[Part]:
    options = f"{model.sha256} {model.top} {model.strict} {part_items}".encode()
    for number, batch in enumerate(batches(items, lambda: part_items, _PART_BYTES)):
        chain = reduce(extend_chain, batch, options)
        digest = blake2b(chain, digest_size=8).hexdigest()
        yield Part(f"part-{number:05}-{digest}.parquet", batch)


def _find_parts(output: str, *, restart: bool) -> dict[int, str]:
    """The parts in the output by number; with `restart`, they are removed."""
    from pyarrow.fs import FileSelector, FileType

    system, folder = locate(output)
    try:
        if not is_url(output):
            system.create_dir(folder, recursive=True)
        found = system.get_file_info(FileSelector(folder, allow_not_found=True))
        names = {each.base_name for each in found if each.type == FileType.File}
        parts = {int(match[1]): name for name in names if (match := _PART.fullmatch(name))}
        others = {each.base_name for each in found if not each.base_name.startswith((".", "_"))}
        if others and not parts:
            got = f"{output} with {min(others)}"
            raise BulkError(f"output: expected a new or empty folder, got {got}")
        if _DONE in names and not restart:
            raise BulkError(f"{output} is complete; use --restart to replace it")
        if restart:
            # First the mark, so that a kill leaves no output that seems complete.
            for name in (*names.intersection({_DONE}), *parts.values()):
                system.delete_file(f"{folder}/{name}")
            parts = {}
    except OSError as error:
        raise BulkError(f"output: {output} cannot be used: {first_line(error)}") from error
    return parts


def _count(output: str, name: str) -> tuple[int, int] | None:
    """The numbers of items and of failed ones in a part; None if it is damaged, as by a crash."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    system, folder = locate(output)
    try:
        errors = pq.read_table(f"{folder}/{name}", columns=["error"], filesystem=system)["error"]
    except (OSError, pa.ArrowException):
        return None
    return len(errors), pc.count(errors).as_py()


def _local(write: PartWriter, parts: Iterable[Part], workers: int) -> Iterator[Written]:
    """One process for each worker; fork would copy locks of this process's threads."""
    window: deque[Future[Written]] = deque()
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _start_worker)
    try:
        for part in parts:
            window.append(pool.submit(write, part))
            while len(window) >= 2 * workers or (window and window[0].done()):
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
    except LoadError as error:
        raise BulkError(str(error)) from error
    except BrokenProcessPool as error:
        raise BulkError(
            "a worker ended, perhaps for lack of memory: run the command again to resume, with "
            "fewer --workers or a smaller --batch"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    # Ctrl-C is for the parent, which lets workers finish their parts.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _ray(write: PartWriter, parts: Iterable[Part], workers: int) -> Iterator[Written]:
    """Ray Data, on the cluster of RAY_ADDRESS or a local one; a task for each part."""
    import ray

    pickled = [{"part": pickle.dumps(part)} for part in parts]
    if not pickled:
        return
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS")
        if address:
            require_ray(address)
        with _starting("Ray", "RAY_ADDRESS names a cluster"):
            if address:
                ray.init()
            else:  # not a cluster that happens to run on this machine
                ray.init("local", num_cpus=workers)
    data = ray.data.from_items(pickled, override_num_blocks=len(pickled))
    done = data.map_batches(
        partial(_write_pickled, write),
        batch_size=None,
        compute=ray.data.TaskPoolStrategy(size=workers),
    )
    yield from map(_written, done.iter_rows())


def _spark(write: PartWriter, parts: Iterable[Part], workers: int) -> Iterator[Written]:
    """Spark, on the cluster of SPARK_REMOTE or PYSPARK_SUBMIT_ARGS, or a local one."""
    import pandas as pd
    from pyspark.sql import SparkSession

    pickled = [(pickle.dumps(part),) for part in parts]
    if not pickled:
        return
    builder = SparkSession.builder.appName("rockstar predict")
    if not os.environ.keys() & {"SPARK_REMOTE", "PYSPARK_SUBMIT_ARGS"}:
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        builder = builder.master(f"local[{workers}]")
    with _starting("Spark", "it needs Java 17, in JAVA_HOME or PATH"):
        spark = builder.getOrCreate()

    def write_frames(frames: Iterator[Any]) -> Iterator[Any]:
        for frame in frames:
            yield pd.DataFrame(_write_pickled(write, frame))

    data = spark.createDataFrame(pickled, "part binary").repartition(len(pickled))
    yield from map(_written, data.mapInPandas(write_frames, "written binary").collect())


def require_ray(address: str) -> None:
    """Check that something listens at a cluster's address, HOST:PORT, ray://HOST:PORT or auto.

    Ray would wait for it for minutes, in silence. Raises BulkError.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except ValueError as error:
        raise BulkError(f"Ray's address: expected HOST:PORT, got {address}") from error
    except OSError as error:
        raise BulkError(
            f"no Ray cluster responds at {address}: {error.strerror or 'no answer within 5 s'} "
            "(--address or RAY_ADDRESS)"
        ) from error


@contextmanager
def _starting(engine: str, hint: str) -> Iterator[None]:
    """Raise a BulkError if an engine does not start; they raise errors of any class."""
    try:
        yield
    except Exception as error:
        raise BulkError(f"{engine} does not start: {first_line(error)} ({hint})") from error


def _write_pickled(write: PartWriter, batch: Any) -> dict[str, list[bytes]]:
    """Write the parts in a table of pickled ones.

    Errors for users are returned: an engine would retry the part, and add its own traceback.
    """
    results: list[bytes] = []
    for part in batch["part"]:
        written: Written | str
        try:
            written = write(pickle.loads(part))  # noqa: S301 (our own)
        except (BulkError, CallError, LoadError) as error:
            written = str(error)
        results.append(pickle.dumps(written))
    return {"written": results}


def _written(row: Any) -> Written:
    written: Written | str = pickle.loads(row["written"])  # noqa: S301 (our own)
    if isinstance(written, str):
        raise BulkError(written)
    return written


# Each writes parts, in any order.
Engine = Callable[[PartWriter, Iterable[Part], int], Iterator[Written]]
ENGINES: dict[str, Engine] = {"local": _local, "ray": _ray, "spark": _spark}
