"""API keys and their rate limits.

Only SHA-256 hashes of keys are kept. A key has 256 random bits, so a slow hash would add nothing.
In a TOML file:

    [keys.alice]
    sha256 = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
    models = ["cnn"]        # default: all
    rate = "100/minute"     # default: the setting rate_limit

or in ROCKSTAR_API_KEYS as NAME:HASH, separated by spaces. Rate limits are token buckets in memory
that all workers of a gateway share.
"""

import fcntl
import hashlib
import hmac
import re
import secrets
import tempfile
import threading
import time
import tomllib
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from rockstar_contract.text_files import EncodingError, read_text

_PREFIX = "rock-"
_RATE = re.compile(r"(\d+)/(second|minute|hour|day)")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


class KeysError(ValueError):
    """Invalid keys; the message names their source and what is expected."""


@dataclass(frozen=True)
class Rate:
    """A number of requests, at once or spread out, per period in seconds."""

    requests: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Parse a text such as "100/minute".

        Raises:
            ValueError: it has another form.
        """
        match = _RATE.fullmatch(text)
        if match is None or int(match[1]) < 1:
            raise ValueError(f"expected a rate such as 100/minute, got {text!r}")
        return cls(int(match[1]), _SECONDS[match[2]])


class Buckets:
    """One token bucket per name, in memory that processes share; create it before they fork."""

    def __init__(self, rates: Mapping[str, Rate]) -> None:
        self._rates = {name: (index, rate) for index, (name, rate) in enumerate(rates.items())}
        # The tokens of each bucket, and when they were counted, in monotonic seconds.
        self._tokens = RawArray("d", [float(rate.requests) for rate in rates.values()])
        self._counted = RawArray("d", [time.monotonic()] * len(rates))
        self._lock = threading.Lock()
        if rates:
            # The kernel releases a file lock when the process that holds it ends.
            self._file = tempfile.TemporaryFile()  # noqa: SIM115
            weakref.finalize(self, self._file.close)

    def take(self, name: str) -> float:
        """Take a token; a name without a rate always gets one.

        Returns:
            0, or the seconds until the next token if there is none.
        """
        if name not in self._rates:
            return 0.0
        index, rate = self._rates[name]
        by_second = rate.requests / rate.seconds
        # The file lock excludes other processes, the other one threads of this process.
        with self._lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            now = time.monotonic()
            tokens = self._tokens[index] + (now - self._counted[index]) * by_second
            tokens = min(rate.requests, tokens)
            taken = tokens >= 1
            self._tokens[index], self._counted[index] = tokens - taken, now
            fcntl.lockf(self._file, fcntl.LOCK_UN)
        return 0.0 if taken else (1 - tokens) / by_second


class Key(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An entry of the keys file.

    Attributes:
        sha256: hash of the key, in hexadecimal.
        models: models that it gives access to; None is all.
        rate: its rate limit.
    """

    sha256: Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{64}$")]
    models: tuple[str, ...] | None = None
    rate: str | None = None

    def __post_init__(self) -> None:
        if self.rate is not None:
            Rate.parse(self.rate)


class Keys:
    """The keys of a gateway by owner, with their rate limits."""

    def __init__(self, keys: dict[str, Key], rate_limit: str = "") -> None:
        """Create it before the workers fork: they share the buckets.

        Args:
            keys: by owner.
            rate_limit: default for keys without their own; empty is none.
        """
        self._keys = keys
        rates = {name: key.rate or rate_limit for name, key in keys.items()}
        self.buckets = Buckets({name: Rate.parse(rate) for name, rate in rates.items() if rate})

    def __bool__(self) -> bool:
        return bool(self._keys)

    def owner(self, presented: str) -> str | None:
        """The owner of a key; None for an unknown key."""
        digest = _digest(presented)
        owner = None
        # Compares with all keys, each in constant time, so that timing reveals nothing.
        for name, key in self._keys.items():
            if hmac.compare_digest(digest, key.sha256.lower()):
                owner = owner or name
        return owner

    def gives_access(self, owner: str, model: str) -> bool:
        """Whether the owner's key gives access to a model."""
        models = self._keys[owner].models
        return models is None or model in models


def make_key(name: str) -> tuple[str, str, str]:
    """A new key, its entry for the keys file, and its word for ROCKSTAR_API_KEYS."""
    key = _PREFIX + secrets.token_urlsafe(32)
    digest = _digest(key)
    return key, f'[keys.{name}]\nsha256 = "{digest}"', f"{name}:{digest}"


def read_keys(path: Path) -> dict[str, Key]:
    """Read a keys file.

    Raises:
        KeysError: it cannot be read, has no key or is invalid.
    """
    document = read_toml(path, KeysError)
    tables = document.pop("keys", {})
    if document or not isinstance(tables, dict):
        raise KeysError(f"{path}: expected only tables [keys.NAME]")
    if not tables:
        # A file that is still being written must not open the gateway to everyone.
        raise KeysError(f"{path} holds no key: rockstar gateway --make-key NAME makes one")
    return {name: _key(table, f"{path}: keys.{name}") for name, table in tables.items()}


def parse_keys(words: tuple[str, ...]) -> dict[str, Key]:
    """Parse the words of ROCKSTAR_API_KEYS.

    Raises:
        KeysError: one is not NAME:HASH.
    """
    keys = {}
    for number, word in enumerate(words, start=1):
        name, _, digest = word.partition(":")
        # The error does not show the word: it may be the key itself.
        keys[name] = _key({"sha256": digest}, f"ROCKSTAR_API_KEYS: word {number}, NAME:HASH")
    return keys


def read_toml(path: Path, error_type: type[ValueError]) -> dict[str, Any]:
    """Read a TOML file.

    Args:
        path: of the file.
        error_type: raised when it cannot be read, with a message that names the file.
    """
    try:
        return tomllib.loads(read_text(path))
    except OSError as error:
        raise error_type(f"{path} cannot be read: {error.strerror}") from error
    except EncodingError as error:
        raise error_type(f"{path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise error_type(f"{path} is not TOML: {error}") from error


def _key(table: Any, place: str) -> Key:
    try:
        return msgspec.convert(table, Key)
    except msgspec.ValidationError as error:
        raise KeysError(f"{place}: {str(error).replace('`', '')}") from error


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
