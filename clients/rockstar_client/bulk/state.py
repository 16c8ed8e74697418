"""How far a run is: a small file beside its output, by which it can be continued."""

import os
from hashlib import blake2b
from pathlib import Path
from typing import Annotated

import msgspec

from rockstar_client.bulk.errors import ResumeError
from rockstar_client.bulk.item import Item

Count = Annotated[int, msgspec.Meta(ge=0)]


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run asks for; a continued one must ask for the same.

    Attributes:
        model: name.
        version: the one that was picked; None is the newest.
        newest: the newest version when the run began, where that is known.
        top: how many labels are listed.
        retry: whether only items that failed before are asked for.
        strict: whether rows fail of which something would be imputed or ignored.
    """

    model: str
    version: int | None = None
    newest: int | None = None
    top: int = 1
    retry: bool = False
    strict: bool = False


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A place in a run, up to which its output is safe on disk.

    Attributes:
        asked: what for.
        items: how many are done, from the first one on.
        chain: of their names and stamps.
        failed: how many of them failed.
        out_bytes: of the output, up to the last of them.
        failed_bytes: likewise of the file of failed items.
        finished: whether that were all; what is left is to give the files their names.
    """

    asked: Asked
    items: Count = 0
    chain: str = ""
    failed: Count = 0
    out_bytes: Count = 0
    failed_bytes: Count = 0
    finished: bool = False


class Chain:
    """Says whether two runs saw the same items in the same order, in a few bytes."""

    def __init__(self, value: str = "") -> None:
        self._value = bytes.fromhex(value)

    def add(self, item: Item) -> None:
        """Go on by one item."""
        text = f"{item.name}\n{item.stamp}".encode("utf-8", "surrogateescape")
        self._value = blake2b(self._value + text, digest_size=16).digest()

    @property
    def value(self) -> str:
        """Of all items so far."""
        return self._value.hex()


def read_state(path: Path) -> State | None:
    """The state in a file; None where there is none.

    Raises:
        ResumeError: it is something else.
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
    """Replace the state in a file; at any moment the old or the new one is there, whole."""
    aside = path.with_name(f"{path.name}.new")
    with aside.open("wb") as file:
        file.write(msgspec.json.encode(state))
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
