"""The files of a bulk run: the output, the failed items, and the progress.

During a run there are OUT.part, the part file of failed items, and OUT.progress. A continued run
truncates the part files to the lengths in OUT.progress, so that no row is missing or repeated
wherever the run was killed. At the end the part files are renamed: an OUT that exists is complete.
"""

import csv
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec

from rockstar_client.bulk.sinks import FailedRow, PartFile, Row, find_format
from rockstar_client.bulk.state import (
    BulkError,
    ResumeError,
    RunOptions,
    State,
    read_state,
    write_state,
)

_CHUNK = 2**20


class Files:
    """Paths of a run's files, derived from the path of its output."""

    def __init__(self, out: Path) -> None:
        """Derive the paths.

        Raises:
            BulkError: the suffix is unknown, or the folder does not exist.
        """
        self.out = out
        self.format = find_format(out)
        if out.is_dir():
            raise BulkError(f"output: expected a file, got the folder {out}")
        if not out.parent.is_dir():
            raise BulkError(f"output: there is no folder {out.parent}: make it first")
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
        files: their paths.
    """

    def __init__(self, files: Files, options: RunOptions, *, restart: bool = False) -> None:
        """Start a run, or continue an interrupted one.

        A run with options.retry appends to a complete output and replaces its file of failed items.

        Args:
            files: paths.
            options: of the run.
            restart: discard an interrupted run and replace a complete one.

        Raises:
            BulkError: the output is complete, or another run writes it.
            ResumeError: the interrupted run had other options.
            OSError: the files cannot be written.
        """
        self.files = files
        if options.retry:
            _require_failed(files)
        elif not restart:
            _require_new(files)
        with ExitStack() as opened:
            self._out = opened.enter_context(closing(PartFile(files.part)))
            state = None if restart else read_state(files.state)
            if state is None:
                if options.retry:
                    self._copy_complete()
                state = State(options=options, out_bytes=self._out.size if options.retry else 0)
                write_state(files.state, state)
            else:
                _require_same(state.options, options, files)
            self.state = state
            self.saved = state.items
            self._failed = opened.enter_context(closing(PartFile(files.failed_part)))
            if not state.finished:
                self._out.truncate(state.out_bytes)
                self._failed.truncate(state.failed_bytes)
            opened.pop_all()

    def write(self, rows: list[Row], failed: list[FailedRow], chain: str) -> None:
        """Append the outcomes of the next items.

        Args:
            rows: of items with a prediction.
            failed: of items without.
            chain: digest of all items up to the last of these.
        """
        state = self.state
        self.state = msgspec.structs.replace(
            state,
            items=state.items + len(rows) + len(failed),
            chain=chain,
            failed=state.failed + len(failed),
            out_bytes=state.out_bytes + self._append(self._out, rows, state.out_bytes),
            failed_bytes=state.failed_bytes
            + self._append(self._failed, failed, state.failed_bytes),
        )

    def save(self) -> None:
        """Sync rows and state to disk."""
        self._out.sync()
        self._failed.sync()
        write_state(self.files.state, self.state)
        self.saved = self.state.items

    def finish(self) -> None:
        """Move the files to their final paths once all items are done; can be repeated."""
        files = self.files
        if not self.state.finished:
            if files.format.header is not None and not self.state.out_bytes:
                self._out.append(files.format.header(None))
            self.state = msgspec.structs.replace(
                self.state, finished=True, out_bytes=self._out.size
            )
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
        self.files.state.unlink(missing_ok=True)
        self.files.part.unlink(missing_ok=True)
        self.files.failed_part.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the files."""
        self._out.close()
        self._failed.close()

    def _copy_complete(self) -> None:
        self._out.truncate(0)
        with self.files.out.open("rb") as complete:
            while chunk := complete.read(_CHUNK):
                self._out.append(chunk)
        self._out.sync()

    def _append(self, part: PartFile, rows: list[Row] | list[FailedRow], size: int) -> int:
        """Append rows to a part of `size` bytes, with a header if it is empty; return the bytes."""
        if not rows:
            return 0
        header = self.files.format.header
        data = self.files.format.lines(rows)
        if header is not None:
            names = header(rows[0])
            if not size:
                data = names + data
            elif names != part.first_line() or header(rows[-1]) != names:
                before, now = part.first_line().decode().strip(), names.decode().strip()
                raise BulkError(
                    f"{part.path} has the columns {before}, the answers now {now}: pick the "
                    "version of the first ones with --version, and the same --top"
                )
        part.append(data)
        return len(data)


def _require_failed(files: Files) -> None:
    if files.format.convert is not None:
        raise BulkError(
            "--retry-failed goes with .csv and .jsonl: a Parquet file takes no more rows"
        )
    if not files.state.exists() and not (files.out.exists() and files.failed.exists()):
        raise BulkError(
            f"there are no {files.out} and {files.failed} of a complete run to go on from"
        )


def _require_new(files: Files) -> None:
    if files.state.exists():
        return
    if files.out.exists() or files.failed.exists():
        there = files.out if files.out.exists() else files.failed
        raise BulkError(f"{there} is there already: --restart replaces it")
    if files.part.exists() and files.part.stat().st_size:
        raise ResumeError(f"{files.part} has lost its {files.state.name}: --restart begins anew")


def _require_same(before: RunOptions, now: RunOptions, files: Files) -> None:
    """Check that a continued run has the options it was started with."""
    if before.retry != now.retry:
        what = "with" if before.retry else "without"
        raise ResumeError(f"{files.out} was begun {what} --retry-failed: finish it like that")
    hint = f"; --restart replaces what is in {files.part}"
    if before.strict != now.strict:
        what = "with" if before.strict else "without"
        raise ResumeError(f"{files.out} was begun {what} --strict{hint}")
    for name in ("model", "version", "top"):
        was, is_ = getattr(before, name), getattr(now, name)
        # A run without --version may continue with the version that was the newest.
        same = was == is_ or (name == "version" and (was or before.newest) == is_)
        if not same:
            raise ResumeError(
                f"{files.out} was begun with {name} {was or 'newest'}, not {is_ or 'newest'}{hint}"
            )
    if now.version is None and before.newest != now.newest:
        raise ResumeError(
            f"{files.out} was begun with version {before.newest}, the newest is now {now.newest}: "
            f"--version {before.newest} goes on with that one{hint}"
        )
