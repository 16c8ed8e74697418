"""API keys and their rate limits.

Only SHA-256 hashes of keys are kept. A key has 256 random bits, so a slow hash would add nothing.
In a TOML file:

    [keys.alice]
    sha256 = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
    models = ["cnn"]        # default: all
    rate = "100/minute"     # default: the setting rate_limit
    expires = 2027-01-31    # its last day, in UTC; default: never

or in ROCKSTAR_API_KEYS as NAME:HASH, separated by spaces. Rate limits are token buckets in memory
that all workers of a gateway share.
"""

import fcntl
import hashlib
import logging
import os
import re
import secrets
import tempfile
import threading
import time
import weakref
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from rockstar_serving.options import SettingError, convert, read_toml

_PREFIX = "rock-"
_RATE = re.compile(r"(\d+)/(second|minute|hour|day)")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
# Names with a rate limit while the gateway runs; beyond that, some share one.
_BUCKETS = 4096
# Seconds between two looks at the keys file.
_POLL_S = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rate:
    """A number of requests, at once or spread out, per period in seconds."""

    requests: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Parse a text such as "100/minute"; raises ValueError."""
        match = _RATE.fullmatch(text)
        if match is None or int(match[1]) < 1:
            raise ValueError(f"expected a rate such as 100/minute, got {text!r}")
        return cls(int(match[1]), _SECONDS[match[2]])


class Buckets:
    """One token bucket per name, in memory that processes share; create it before they fork."""

    def __init__(self) -> None:
        # By slot: the hash of the name, 0 if it is free; the tokens of the bucket, and when they
        # were counted, in monotonic seconds.
        self._names = RawArray("Q", _BUCKETS)
        self._tokens = RawArray("d", _BUCKETS)
        self._counted = RawArray("d", _BUCKETS)
        self._lock = threading.Lock()
        # The kernel releases a file lock when the process that holds it ends.
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        weakref.finalize(self, self._file.close)

    def take(self, name: str, rate: Rate) -> float:
        """Take a token; the bucket of a new name is full.

        Returns:
            0, or the seconds until the next token if there is none.
        """
        by_second = rate.requests / rate.seconds
        # The file lock excludes other processes, the other one threads of this process.
        with self._lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            slot = self._slot(name, rate)
            now = time.monotonic()
            tokens = self._tokens[slot] + (now - self._counted[slot]) * by_second
            tokens = min(rate.requests, tokens)
            taken = tokens >= 1
            self._tokens[slot], self._counted[slot] = tokens - taken, now
            fcntl.lockf(self._file, fcntl.LOCK_UN)
        return 0.0 if taken else (1 - tokens) / by_second

    def _slot(self, name: str, rate: Rate) -> int:
        """The slot of a name, in a hash table with open addressing."""
        digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
        identity = int.from_bytes(digest) or 1
        for probe in range(_BUCKETS):
            slot = (identity + probe) % _BUCKETS
            if self._names[slot] == identity:
                return slot
            if not self._names[slot]:
                self._names[slot] = identity
                self._tokens[slot], self._counted[slot] = rate.requests, time.monotonic()
                return slot
        return identity % _BUCKETS


class Key(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An entry of the keys file.

    Attributes:
        sha256: hash of the key, in hexadecimal.
        models: models that it gives access to; None is all.
        rate: its rate limit.
        expires: the last day on which it is valid, in UTC.
    """

    sha256: Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{64}$")]
    models: tuple[str, ...] | None = None
    rate: str | None = None
    expires: date | None = None

    def __post_init__(self) -> None:
        if self.rate is not None:
            Rate.parse(self.rate)

    @property
    def has_expired(self) -> bool:
        """Whether its last day is over."""
        return self.expires is not None and datetime.now(UTC).date() > self.expires


@dataclass(frozen=True)
class _Known:
    """The keys that are valid now: by owner, their owners by hash, and the rates of owners."""

    keys: dict[str, Key] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    rates: dict[str, Rate] = field(default_factory=dict)


class Keys:
    """The keys of a gateway by owner, with their rate limits.

    Changes of the keys file apply within a second, in every process. While it cannot be used, its
    earlier keys stay valid, and the log says why.
    """

    def __init__(self, words: tuple[str, ...] = (), path: str = "", rate_limit: str = "") -> None:
        """Read the keys. Create it before the workers fork: they share the rate limits.

        Args:
            words: NAME:HASH of each key, as in ROCKSTAR_API_KEYS.
            path: of the keys file; empty is none.
            rate_limit: default for keys without their own; empty is none.

        Raises:
            SettingError: see parse_keys, read_keys.
        """
        self._words, self._path, self._rate_limit = parse_keys(words), path, rate_limit
        self._reading = threading.Lock()
        self._state = self._state_now()
        self._next_look = time.monotonic() + _POLL_S
        self._known = self._read()
        self._buckets = Buckets() if self._known.keys else None

    def __bool__(self) -> bool:
        return bool(self._known.keys)

    def find(self, presented: str) -> tuple[str, Key] | None:
        """A key and its owner; None for an unknown key."""
        if self._path and time.monotonic() >= self._next_look:
            self._look()
        known = self._known
        # Looked up by its hash, which says nothing about keys that are similar.
        owner = known.owners.get(_digest(presented)) if presented else None
        return None if owner is None else (owner, known.keys[owner])

    def owner(self, presented: str) -> str:
        """The owner of a valid key; empty for other keys."""
        found = self.find(presented)
        return "" if found is None or found[1].has_expired else found[0]

    def gives_access(self, owner: str, model: str) -> bool:
        """Whether the owner's key gives access to a model; without keys, everyone has access."""
        known = self._known.keys
        key = known.get(owner)
        return not known if key is None else key.models is None or model in key.models

    def reads_metrics(self, owner: str) -> bool:
        """Whether the owner's key may read the metrics, which name all models."""
        known = self._known.keys
        key = known.get(owner)
        return not known if key is None else not key.models

    def take(self, owner: str) -> float:
        """Count a request; returns 0, or the seconds until the owner may send the next one."""
        rate = self._known.rates.get(owner)
        return self._buckets.take(owner, rate) if rate and self._buckets else 0.0

    def _look(self) -> None:
        """Read the file again if it has changed."""
        if not self._reading.acquire(blocking=False):
            return  # another thread does
        try:
            self._next_look = time.monotonic() + _POLL_S
            state = self._state_now()
            if state != self._state:
                self._state = state
                self._known = self._read()
                log.info("read %s again: %d API keys", self._path, len(self._known.keys))
        except SettingError as error:
            log.error("kept the earlier API keys: %s", error)
        finally:
            self._reading.release()

    def _state_now(self) -> tuple[int, ...] | None:
        """What changes when the file is written or replaced; None if it cannot be found."""
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_dev, found.st_size

    def _read(self) -> _Known:
        keys = self._words | (read_keys(Path(self._path)) if self._path else {})
        owners: dict[str, str] = {}
        for owner, key in keys.items():
            owners.setdefault(key.sha256.lower(), owner)
        rates = {owner: key.rate or self._rate_limit for owner, key in keys.items()}
        parsed = {owner: Rate.parse(rate) for owner, rate in rates.items() if rate}
        return _Known(keys, owners, parsed)


def make_key(name: str) -> tuple[str, str, str]:
    """A new key, its entry for the keys file, and its word for ROCKSTAR_API_KEYS."""
    key = _PREFIX + secrets.token_urlsafe(32)
    digest = _digest(key)
    return key, f'[keys.{name}]\nsha256 = "{digest}"', f"{name}:{digest}"


def read_keys(path: Path) -> dict[str, Key]:
    """Read a keys file; raises SettingError, also if it has no key."""
    document = read_toml(path)
    tables = document.pop("keys", {})
    if document or not isinstance(tables, dict):
        raise SettingError(f"{path}: expected only tables [keys.NAME]")
    if not tables:
        # A file that is still being written must not open the gateway to everyone.
        raise SettingError(f"{path} holds no key: rockstar gateway --make-key NAME makes one")
    return {name: convert(table, Key, f"{path}: keys.{name}") for name, table in tables.items()}


def parse_keys(words: tuple[str, ...]) -> dict[str, Key]:
    """Parse the words of ROCKSTAR_API_KEYS; raises SettingError if one is not NAME:HASH."""
    keys = {}
    for number, word in enumerate(words, start=1):
        name, _, digest = word.partition(":")
        # The error does not show the word: it may be the key itself.
        place = f"ROCKSTAR_API_KEYS: word {number}, NAME:HASH: key"
        keys[name] = convert({"sha256": digest}, Key, place)
    return keys


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
