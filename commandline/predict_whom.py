"""Who `rockstar predict` asks, and about what."""

import codecs
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

from clients.arguments import fixed_headers
from clients.bulk.adjustments import AdjustmentCounts
from clients.bulk.asking import Ask
from clients.bulk.errors import BulkError
from clients.bulk.services import (
    Served,
    over_grpc,
    over_http,
    served_over_grpc,
    served_over_http,
)
from clients.bulk.sources.stdin import STDIN
from clients.channel import ChannelOptions
from clients.http import HttpClient
from clients.retry import NEVER_AGAIN
from clients.tfserving import TFServingClient
from commandline.options import Service

_CHUNK = 2**16


@dataclass(frozen=True)
class Question:
    """What is asked, and of whom; see the options of `rockstar predict`."""

    to: Service
    model: str | None
    version: int | None
    top: int
    strict: bool


@contextmanager
def service(question: Question) -> Iterator[tuple[Served, Ask, AdjustmentCounts]]:
    """The model, how to ask it, and what is changed in rows, as long as the connection is open.

    Raises:
        CallError: the service cannot be asked.
        InvalidInputError: it is not clear which model is meant.
    """
    to, counts = question.to, AdjustmentCounts()
    how: dict[str, Any] = {
        "version": question.version,
        "top": question.top,
        "strict": question.strict,
    }
    if to.grpc is not None:
        said = tuple(fixed_headers(to.api_key, None).items())
        options = ChannelOptions(tls=to.tls, proxy=True)
        with TFServingClient(to.grpc, headers=lambda: said, options=options) as server:
            served = served_over_grpc(server, question.model or "", question.version)
            yield served, over_grpc(server, served.model, counts, **how), counts
        return
    with HttpClient(to.url, api_key=to.api_key, tls=to.tls, retry=NEVER_AGAIN) as client:
        served = served_over_http(client, question.model)
        yield served, over_http(client, served.model, counts, **how), counts


class NamedPaths:
    """The paths of arguments, then those of a file with a path a line (or between NUL bytes)."""

    def __init__(self, files: tuple[str, ...], files_from: str | None) -> None:
        """Hold them; the file is read when they are iterated, stdin (-) once.

        Raises:
            OSError: an argument is not there.
        """
        for path in (*files, *([files_from] if files_from is not None else [])):
            if path != STDIN:
                os.stat(path)
        self._files = files
        self._files_from = files_from

    @property
    def countable(self) -> bool:
        """Whether they can be iterated more than once."""
        return self._files_from != STDIN and STDIN not in self._files

    def __iter__(self) -> Iterator[str]:
        yield from self._files
        if self._files_from == STDIN:
            yield from _listed(cast("BufferedReader", sys.stdin.buffer))
        elif self._files_from is not None:
            with Path(self._files_from).open("rb") as file:
                yield from _listed(file)


def _listed(file: BufferedReader) -> Iterator[str]:
    """Paths as `find` and `find -print0` print them, whatever bytes they are of."""
    end, rest = b"", b""
    while chunk := file.read1(_CHUNK):
        if not end and chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise BulkError("--files-from: expected UTF-8, got UTF-16: save it as UTF-8")
        chunk = chunk if end else chunk.removeprefix(codecs.BOM_UTF8)
        # A name may hold a line end, none holds NUL; none is as long as a chunk.
        end = end or (b"\0" if b"\0" in chunk else b"\n")
        *whole, rest = (rest + chunk).split(end)
        yield from _paths(whole, end)
    yield from _paths([rest], end)


def _paths(names: Iterable[bytes], end: bytes) -> Iterator[str]:
    for name in names:
        # Lists that were made on Windows.
        path = name.removesuffix(b"\r") if end == b"\n" else name
        if path:
            yield os.fsdecode(path)
