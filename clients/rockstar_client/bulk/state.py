"""The state of a bulk run: a small file next to its output from which a later run continues."""

import os
from hashlib import blake2b
from pathlib import Path
from typing import Annotated

import msgspec

from rockstar_client.bulk.items import Item

Count = Annotated[int, msgspec.Meta(ge=0)]


class BulkError(Exception):
    """A run cannot start or go on; the message says how to fix it."""


class ResumeError(BulkError):
    """An interrupted run cannot be continued with this input or these options."""


class RunOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of a run that must be the same when it is continued.

    Attributes:
        model: name.
        version: the chosen one; None means the newest.
        newest: the newest version at the start of the run, if known.
        top: number of labels to list.
        retry: whether only items that failed before are predicted.
        strict: whether rows fail if a value would be imputed or ignored.
    """

    model: str
    version: int | None = None
    newest: int | None = None
    top: int = 1
    retry: bool = False
    strict: bool = False


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A point in a run up to which its output is safe on disk.

    Attributes:
        options: of the run; "asked" in the file.
        items: number of items that are done, counted from the first.
        chain: digest of their names and stamps.
        failed: number of them that failed.
        out_bytes: length of the output up to the last of them.
        failed_bytes: length of the file of failed items, likewise.
        finished: whether all items are done and only renaming the files is left.
    """

    options: RunOptions = msgspec.field(name="asked")
    items: Count = 0
    chain: str = ""
    failed: Count = 0
    out_bytes: Count = 0
    failed_bytes: Count = 0
    finished: bool = False


class Chain:
    """A hash chain over items: equal values mean the same items in the same order."""

    def __init__(self) -> None:
        self._value = b""

    def add(self, item: Item) -> None:
        """Add the next item."""
        text = f"{item.name}\n{item.stamp}".encode("utf-8", "surrogateescape")
        self._value = blake2b(self._value + text, digest_size=16).digest()

    @property
    def value(self) -> str:
        """Hexadecimal digest of the items so far; empty without items."""
        return self._value.hex()


def read_state(path: Path) -> State | None:
    """Read the state from a file; None if the file does not exist.

    Raises:
        ResumeError: the file holds something else.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ResumeError(
            f"{path} is not the state of a run ({error}): --restart begins anew"
        ) from error


def write_state(path: Path, state: State) -> None:
    """Replace the state atomically and sync it to disk."""
    aside = path.with_name(f"{path.name}.new")
    with aside.open("wb") as file:
        file.write(msgspec.json.encode(state))
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
