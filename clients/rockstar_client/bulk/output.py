"""The files of a run: its output, the failed items, and how far it is.

While a run is under way there are OUT.part, that of the failed items, and OUT.progress. What is in
the parts beyond the state in OUT.progress is cut off when the run is continued, so that nothing is
there twice and nothing is missing, wherever it was killed. At the end the parts get their names: an
OUT that is there is whole.
"""

import csv
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec

from rockstar_client.bulk.batches import MIB
from rockstar_client.bulk.errors import BulkError, ResumeError
from rockstar_client.bulk.sinks.formats import format_of
from rockstar_client.bulk.sinks.parts import Part
from rockstar_client.bulk.sinks.rows import FailedRow, Row
from rockstar_client.bulk.state import Asked, State, read_state, write_state


class Files:
    """Where a run writes, by the name of its output."""

    def __init__(self, out: Path) -> None:
        """Choose the names.

        Raises:
            BulkError: no format goes by this name, or its folder is not there.
        """
        self.out = out
        self.format = format_of(out)
        if out.is_dir():
            raise BulkError(f"output: expected a file, got the folder {out}")
        if not out.parent.is_dir():
            raise BulkError(f"output: there is no folder {out.parent}: make it first")
        # Outputs that lie side by side, such as a.jsonl and a.parquet, have each their own.
        suffix = self.format.failed_suffix
        kept = out.stem if out.suffix == suffix else out.name
        self.failed = out.with_name(f"{kept}.failed{suffix}")
        self.part = out.with_name(f"{out.name}.part")
        self.failed_part = self.failed.with_name(f"{self.failed.name}.part")
        self.state = out.with_name(f"{out.name}.progress")

    def all(self) -> tuple[Path, ...]:
        """Every one of them, there or not."""
        return (self.out, self.failed, self.part, self.failed_part, self.state)


class Output:
    """The open files of a run; to be closed.

    Attributes:
        state: how far the run is, on disk or about to be.
        saved: how many items are safe on disk.
        files: their names.
    """

    def __init__(self, files: Files, asked: Asked, *, restart: bool = False) -> None:
        """Begin a run, or take up one that was cut off.

        A run with asked.retry adds to a complete output, and replaces its file of failed items.

        Args:
            files: where to.
            asked: what the run asks for.
            restart: forget a cut off run and replace a complete one.

        Raises:
            BulkError: complete already, or another run is at it.
            ResumeError: the one that was cut off asked for something else.
            OSError: the files cannot be written.
        """
        self.files = files
        if asked.retry:
            _require_failed(files)
        elif not restart:
            _require_new(files)
        with ExitStack() as opened:
            self._out = opened.enter_context(closing(Part(files.part)))
            state = None if restart else read_state(files.state)
            if state is None:
                state = State(asked=asked, out_bytes=self._copied() if asked.retry else 0)
                write_state(files.state, state)
            else:
                _require_same(state.asked, asked, files)
            self.state = state
            self.saved = state.items
            self._failed = opened.enter_context(closing(Part(files.failed_part)))
            if not state.finished:
                self._out.cut_back(state.out_bytes)
                self._failed.cut_back(state.failed_bytes)
            opened.pop_all()

    def write(self, rows: list[Row], failed: list[FailedRow], chain: str) -> None:
        """Add what became of the next items.

        Args:
            rows: of those that were answered.
            failed: of those that were not.
            chain: of all items up to the last of these.
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
        """Make what was written safe, whatever happens to this process or machine."""
        self._out.sync()
        self._failed.sync()
        write_state(self.files.state, self.state)
        self.saved = self.state.items

    def finish(self) -> None:
        """Give the files their names: all items are done. Cut off, it is done again."""
        header = self.files.format.header
        if not self.state.finished:
            if header is not None and not self.state.out_bytes:
                self._out.append(header(None))
            self.state = msgspec.structs.replace(
                self.state, finished=True, out_bytes=self._out.size
            )
            self.save()
        self._settle()
        self.files.state.unlink()
        self.files.part.unlink(missing_ok=True)
        self.files.failed_part.unlink(missing_ok=True)

    def _settle(self) -> None:
        """What has its name already has left an empty part behind, if any."""
        files, state = self.files, self.state
        if not state.failed:
            files.failed.unlink(missing_ok=True)
        elif self._failed.size >= state.failed_bytes:
            files.failed_part.replace(files.failed)
        if self._out.size < state.out_bytes:
            return
        if files.format.convert is None:
            files.part.replace(files.out)
        else:
            aside = files.out.with_name(f"{files.out.name}.new")
            files.format.convert(files.part, aside)
            aside.replace(files.out)

    def discard(self) -> None:
        """Leave no trace of a run that did nothing."""
        for path in (self.files.part, self.files.failed_part, self.files.state):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the files."""
        self._out.close()
        self._failed.close()

    def _copied(self) -> int:
        """Begin with what is in a complete output; how many bytes that are."""
        self._out.cut_back(0)
        with self.files.out.open("rb") as complete:
            while chunk := complete.read(MIB):
                self._out.append(chunk)
        self._out.sync()
        return self._out.size

    def _append(self, part: Part, rows: list[Row] | list[FailedRow], size: int) -> int:
        """Write rows, with a header where they are the first; how many bytes that were."""
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


def _require_same(before: Asked, now: Asked, files: Files) -> None:
    """Check that a continued run asks for what it asked before."""
    if before.retry != now.retry:
        what = "with" if before.retry else "without"
        raise ResumeError(f"{files.out} was begun {what} --retry-failed: finish it like that")
    hint = f"; --restart replaces what is in {files.part}"
    if before.strict != now.strict:
        what = "with" if before.strict else "without"
        raise ResumeError(f"{files.out} was begun {what} --strict{hint}")
    for name in ("model", "version", "top"):
        was, is_ = getattr(before, name), getattr(now, name)
        # Who picks the version that was the newest one goes on as before.
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


def failed_names(files: Files) -> frozenset[str]:
    """The items in the file of failed items of a complete run."""
    with files.failed.open(encoding="utf-8", newline="") as file:
        if files.format.header is None:
            return frozenset(msgspec.json.decode(line)["item"] for line in file)
        return frozenset(row["item"] for row in csv.DictReader(file))
