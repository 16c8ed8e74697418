"""The files of a bulk run (output, failed items, and state) and the formats of its output.

During a run there are OUT.part, the part file of failed items, and OUT.progress with the state. A
continued run truncates the part files to the lengths in the state, so that no row is missing or
repeated wherever the run was killed. At the end the part files are renamed: an OUT that exists is
complete.
"""

import csv
import fcntl
import io
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import msgspec

from rockstar_client.bulk import BulkError, ResumeError
from rockstar_client.bulk.items import Failed, Item, Result, cells
from rockstar_contract.contract import Value
from rockstar_contract.text_files import replace_file, utf8_name

Count = Annotated[int, msgspec.Meta(ge=0)]

_encode_lines = msgspec.json.Encoder().encode_lines
# Rows of a Parquet row group; as many are in memory at a time.
_ROW_GROUP = 50_000


class RunOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of a run that must be the same when it is continued."""

    model: str
    version: int | None = None  # the chosen one; None means the newest
    newest: int | None = None  # the newest version at the start of the run, if known
    top: int = 1
    retry: bool = False  # whether only items that failed before are predicted
    strict: bool = False


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A point in a run up to which its output is safe on disk."""

    options: RunOptions
    items: Count = 0  # that are done, counted from the first
    chain: str = ""  # hexadecimal digest of these items, see `extend_chain`
    failed: Count = 0
    out_bytes: Count = 0  # length of the output up to the last of them
    failed_bytes: Count = 0  # length of the file of failed items, likewise
    finished: bool = False  # whether only renaming the files is left


def extend_chain(chain: bytes, item: Item) -> bytes:
    """The digest of a chain of items and the next one: equal for the same items in one order."""
    text = f"{item.name}\n{item.stamp}".encode("utf-8", "surrogateescape")
    return blake2b(chain + text, digest_size=16).digest()


def read_state(path: Path) -> State | None:
    """Read the state from a file; None without a file, a ResumeError for something else."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ResumeError(
            f"{path} is not the state of a run ({error}); use --restart to start over"
        ) from error


class PartFile(io.FileIO):
    """A file under construction: appended to, truncated on resume, locked against other runs.

    It is unbuffered: written data survives this process, and errors appear when they happen.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file and lock it; a BulkError if another run holds the lock."""
        super().__init__(path, "ab")
        self.path = path
        try:
            fcntl.flock(self, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = os.fstat(self.fileno()).st_ino == path.stat().st_ino
        except (BlockingIOError, FileNotFoundError):
            locked = False
        if not locked:
            self.close()
            raise BulkError(f"another run is writing {path}")

    @property
    def size(self) -> int:
        """In bytes."""
        return os.fstat(self.fileno()).st_size

    def write(self, data: Any) -> int:
        """Write all data; if the disk is full, a part of it may have been written."""
        left = memoryview(data)
        try:
            while left:
                left = left[super().write(left) :]
        except OSError as error:
            error.filename = str(self.path)
            raise
        return len(data)

    def keep(self, size: int) -> None:
        """Keep the first `size` bytes; a ResumeError if the file is shorter."""
        if self.size < size:
            raise ResumeError(f"{self.path} is shorter than it was; use --restart to start over")
        self.truncate(size)

    def first_line(self) -> bytes:
        """Read the first line."""
        with self.path.open("rb") as file:
            return file.readline()


class Files:
    """Paths of a run's files, derived from the path of its output."""

    def __init__(self, out: Path) -> None:
        """Derive the paths; a BulkError if the suffix is unknown, or the folder does not exist."""
        self.out = out
        self.format = find_format(out)
        if out.is_dir():
            raise BulkError(f"output: expected a file, got the folder {out}")
        if not out.parent.is_dir():
            raise BulkError(f"output: there is no folder {out.parent}; create it first")
        # Outputs with the same stem, such as a.jsonl and a.parquet, need different names.
        suffix = self.format.failed_suffix
        kept = out.stem if out.suffix == suffix else out.name
        self.failed = out.with_name(f"{kept}.failed{suffix}")
        self.part = out.with_name(f"{out.name}.part")
        self.failed_part = self.failed.with_name(f"{self.failed.name}.part")
        self.state = out.with_name(f"{out.name}.progress")

    def all(self) -> tuple[Path, ...]:
        """All paths, whether the files exist or not."""
        return (self.out, self.failed, self.part, self.failed_part, self.state)

    def failed_names(self) -> frozenset[str]:
        """Read the names in the file of failed items of a complete run."""
        with self.failed.open(encoding="utf-8", newline="") as file:
            if self.format.header is None:
                return frozenset(msgspec.json.decode(line)["item"] for line in file)
            return frozenset(row["item"] for row in csv.DictReader(file))


class Output:
    """The open files of a run; must be closed.

    Attributes:
        state: of the run, including rows that are not synced yet.
        saved: number of items that are safe on disk.
    """

    def __init__(self, files: Files, options: RunOptions, *, restart: bool = False) -> None:
        """Start a run, or continue an interrupted one.

        A run with options.retry appends to a complete output and replaces its file of failed items.
        With `restart`, an interrupted run is discarded and a complete one is replaced. Raises a
        BulkError if the output is complete, or another run writes it, and a ResumeError if the
        interrupted run had other options.
        """
        self.files = files
        if options.retry:
            _require_failed(files)
        elif not restart:
            _require_new(files)
        with ExitStack() as opened:
            self._out = opened.enter_context(PartFile(files.part))
            state = None if restart else read_state(files.state)
            if state is None:
                if options.retry:
                    self._out.keep(0)
                    with files.out.open("rb") as complete:
                        shutil.copyfileobj(complete, self._out)
                    os.fsync(self._out)
                state = State(options=options, out_bytes=self._out.size if options.retry else 0)
                replace_file(files.state, msgspec.json.encode(state))
            else:
                _require_same(state.options, options, files)
            self.state = state
            self.saved = state.items
            self._failed = opened.enter_context(PartFile(files.failed_part))
            if not state.finished:
                self._out.keep(state.out_bytes)
                self._failed.keep(state.failed_bytes)
            opened.pop_all()

    def write(self, results: Sequence[Result]) -> None:
        """Append the results of the next items."""
        state, chain = self.state, bytes.fromhex(self.state.chain)
        good: list[Result] = []
        failed: list[Result] = []
        for each in results:
            chain = extend_chain(chain, each.item)
            (failed if isinstance(each.outcome, Failed) else good).append(each)
        self.state = msgspec.structs.replace(
            state,
            items=state.items + len(results),
            chain=chain.hex(),
            failed=state.failed + len(failed),
            out_bytes=self._append(self._out, good, state.out_bytes),
            failed_bytes=self._append(self._failed, failed, state.failed_bytes),
        )

    def save(self) -> None:
        """Sync rows and state to disk."""
        os.fsync(self._out)
        os.fsync(self._failed)
        replace_file(self.files.state, msgspec.json.encode(self.state))
        self.saved = self.state.items

    def finish(self) -> None:
        """Move the files to their final paths once all items are done; can be repeated."""
        files, replace = self.files, msgspec.structs.replace
        if not self.state.finished:
            if files.format.header is not None and not self.state.out_bytes:
                self._out.write(files.format.header(None))
            self.state = replace(self.state, finished=True, out_bytes=self._out.size)
            self.save()
        # A file that was moved before the run was killed has left a shorter part file.
        if not self.state.failed:
            files.failed.unlink(missing_ok=True)
        elif self._failed.size >= self.state.failed_bytes:
            files.failed_part.replace(files.failed)
        if self._out.size >= self.state.out_bytes:
            if files.format.convert is None:
                files.part.replace(files.out)
            else:
                aside = files.out.with_name(f"{files.out.name}.new")
                files.format.convert(files.part, aside)
                aside.replace(files.out)
        self.discard()

    def discard(self) -> None:
        """Remove the part files and the state, as after a run without items."""
        for path in (self.files.state, self.files.part, self.files.failed_part):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the files."""
        self._out.close()
        self._failed.close()

    def _append(self, part: PartFile, results: Sequence[Result], size: int) -> int:
        """Append to a part of `size` bytes, with a header if it is empty; return its size."""
        if not results:
            return size
        header = self.files.format.header
        data = self.files.format.lines(results)
        if header is not None:
            names = header(results[0])
            if not size:
                data = names + data
            elif names != part.first_line() or header(results[-1]) != names:
                before, now = part.first_line().decode().strip(), names.decode().strip()
                raise BulkError(
                    f"{part.path} has the columns {before}, but the predictions now have {now}; "
                    "use --version to select the version of the first ones, and the same --top"
                )
        part.write(data)
        return size + len(data)


def _require_failed(files: Files) -> None:
    if files.format.convert is not None:
        raise BulkError(
            "--retry-failed works with .csv and .jsonl: rows cannot be added to a Parquet file"
        )
    if not files.state.exists() and not (files.out.exists() and files.failed.exists()):
        raise BulkError(f"--retry-failed needs {files.out} and {files.failed} of a complete run")


def _require_new(files: Files) -> None:
    if files.state.exists():
        return
    for path in (files.out, files.failed):
        if path.exists():
            raise BulkError(f"{path} already exists; use --restart to replace it")
    if files.part.exists() and files.part.stat().st_size:
        what = f"{files.part} exists without {files.state.name}"
        raise ResumeError(f"{what}; use --restart to start over")


def _require_same(before: RunOptions, now: RunOptions, files: Files) -> None:
    """Check that a continued run has the options it was started with."""
    begun, hint = f"{files.out} was started", f"; use --restart to replace {files.part}"
    if before.retry != now.retry:
        what = "with" if before.retry else "without"
        raise ResumeError(f"{begun} {what} --retry-failed; finish it the same way")
    if before.strict != now.strict:
        raise ResumeError(f"{begun} {'with' if before.strict else 'without'} --strict{hint}")
    for name in ("model", "version", "top"):
        was, is_ = getattr(before, name), getattr(now, name)
        # A run without --version may continue with the version that was the newest.
        if was != is_ and not (name == "version" and (was or before.newest) == is_):
            raise ResumeError(f"{begun} with {name} {was or 'newest'}, not {is_ or 'newest'}{hint}")
    if now.version is None and before.newest != now.newest:
        raise ResumeError(
            f"{begun} with version {before.newest}, but the newest is now {now.newest}; "
            f"use --version {before.newest} to continue, or --restart to replace {files.part}"
        )


@dataclass(frozen=True)
class Format:
    """Functions that write a file format."""

    failed_suffix: str  # of the file of failed items
    lines: Callable[[Sequence[Result]], bytes]  # encodes results as text that can be appended
    # The first line of a file with results like this one; None if there is no header.
    header: Callable[[Result | None], bytes] | None = None
    # Makes the output (second path) from the text (first path); None if the text is the output.
    convert: Callable[[Path, Path], None] | None = None


def find_format(path: Path) -> Format:
    """The format of a file by its suffix; a BulkError if it is unknown or pyarrow is missing."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        expected = f"a name that ends in {', '.join(FORMATS)}"
        raise BulkError(f"output: expected {expected}, got {path.name!r}")
    if suffix == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ModuleNotFoundError as error:
            raise BulkError(
                "a .parquet file needs pyarrow: pip install 'rockstartf[parquet]', or write .csv"
            ) from error
    return FORMATS[suffix]


def _columns(result: Result, *, nested: bool = False) -> dict[str, Any]:
    """The cells of a row: item, label, score, version; item, value, version; or item, reason.

    Further labels are label_2, score_2, …, or nested in top, with a reason if no label is certain.
    """
    item, version, outcome = result
    columns: dict[str, Any] = {"item": utf8_name(item.name)}
    if isinstance(outcome, Failed):
        return columns | {"reason": outcome.reason}
    if not nested or isinstance(outcome, Value):
        return columns | cells(version, outcome)
    columns |= {"label": outcome.label, "score": outcome.score, "top": outcome.top}
    if outcome.reason:
        columns["reason"] = outcome.reason
    return columns | {"version": version}


def _csv_lines(results: Sequence[Result]) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows(_columns(each).values() for each in results)
    return stream.getvalue().encode()


def _csv_header(result: Result | None) -> bytes:
    """The header for results like this one; None means a file without rows."""
    names = ["item", "version"] if result is None else _columns(result)
    return (",".join(names) + "\n").encode()


def _write_parquet(lines: Path, file: Path) -> None:
    """Make a Parquet file from JSON lines: an interrupted Parquet file cannot be continued."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    decode = msgspec.json.Decoder(dict[str, Any]).decode
    with lines.open("rb") as stream:
        groups = iter(lambda: [*map(decode, islice(stream, _ROW_GROUP))], [])
        group = next(groups, [])
        # Only the label can be null. Without any row the columns but the first are unknown.
        types = {str: pa.string(), type(None): pa.string(), float: pa.float64(), int: pa.int64()}
        first = group[0] if group else {"item": ""}
        schema = pa.schema([(name, types[type(value)]) for name, value in first.items()])
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            while group:
                writer.write_table(pa.Table.from_pylist(group, schema))
                group = next(groups, [])


FORMATS = {
    ".csv": Format(".csv", _csv_lines, _csv_header),
    ".jsonl": Format(".jsonl", lambda rs: _encode_lines(_columns(r, nested=True) for r in rs)),
    ".parquet": Format(".jsonl", lambda rs: _encode_lines(map(_columns, rs)), None, _write_parquet),
}
