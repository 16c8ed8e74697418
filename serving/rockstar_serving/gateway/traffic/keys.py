"""API keys: random texts of which only hashes are kept.

In a file, in TOML:

    [keys.alice]
    sha256 = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
    models = ["cnn"]        # all, where it is missing
    rate = "100/minute"     # the setting rate_limit, where it is missing

or in ROCKSTAR_API_KEYS as NAME:HASH, several with spaces between. A key has 256 random bits: nobody
tries them all, so a quick hash is as good as a slow one.
"""

import hashlib
import hmac
import secrets
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from rockstar_serving.gateway.traffic.rates import Buckets, Rate
from rockstar_serving.gateway.traffic.toml_file import read_toml

_PREFIX = "rock-"


class KeysError(ValueError):
    """Keys that cannot be used; the message names where they are from, and what would do."""


class Key(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is known of a key.

    Attributes:
        sha256: of the key, in hexadecimal.
        models: names that may be asked for; None is all.
        rate: how often.
    """

    sha256: Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{64}$")]
    models: tuple[str, ...] | None = None
    rate: str | None = None

    def __post_init__(self) -> None:
        if self.rate is not None:
            Rate.parse(self.rate)


class Keys:
    """The keys of a gateway by the names of their owners, and how often each may ask."""

    def __init__(self, keys: dict[str, Key], rate_limit: str = "") -> None:
        """Make it before the workers are forked: they share the counts.

        Args:
            keys: by name.
            rate_limit: of keys that have none of their own; empty is none.
        """
        self._keys = keys
        rates = {name: key.rate or rate_limit for name, key in keys.items()}
        self.buckets = Buckets({name: Rate.parse(rate) for name, rate in rates.items() if rate})

    def __bool__(self) -> bool:
        return bool(self._keys)

    def owner(self, presented: str) -> str | None:
        """The name of the owner of a key; None for a key of nobody."""
        digest = _digest(presented)
        # All are looked at, each in the same time: how long it takes tells nothing.
        owners = [
            name
            for name, key in self._keys.items()
            if hmac.compare_digest(digest, key.sha256.lower())
        ]
        return owners[0] if owners else None

    def may_ask(self, owner: str, model: str) -> bool:
        """Whether the owner's key is for a model."""
        models = self._keys[owner].models
        return models is None or model in models


def make_key(name: str) -> tuple[str, str, str]:
    """A new key, its entry in a file of keys, and its word in ROCKSTAR_API_KEYS."""
    key = _PREFIX + secrets.token_urlsafe(32)
    digest = _digest(key)
    return key, f'[keys.{name}]\nsha256 = "{digest}"', f"{name}:{digest}"


def read_keys(path: Path) -> dict[str, Key]:
    """Read a file.

    Raises:
        KeysError: it cannot be read, holds no key, or says something that cannot be.
    """
    document = read_toml(path, KeysError)
    tables = document.pop("keys", {})
    if document or not isinstance(tables, dict):
        raise KeysError(f"{path}: expected only tables [keys.NAME]")
    if not tables:
        # A file that is being written must not open the gateway to everyone.
        raise KeysError(f"{path} holds no key: rockstar gateway --make-key NAME makes one")
    return {name: _key(table, f"{path}: keys.{name}") for name, table in tables.items()}


def parse_keys(words: tuple[str, ...]) -> dict[str, Key]:
    """Read the words of ROCKSTAR_API_KEYS.

    Raises:
        KeysError: one is not NAME:HASH.
    """
    keys = {}
    for number, word in enumerate(words, start=1):
        name, _, digest = word.partition(":")
        # What is wrong may be the key itself, so it is not shown.
        keys[name] = _key({"sha256": digest}, f"ROCKSTAR_API_KEYS: word {number}, NAME:HASH")
    return keys


def _key(table: Any, place: str) -> Key:
    try:
        return msgspec.convert(table, Key)
    except msgspec.ValidationError as error:
        raise KeysError(f"{place}: {str(error).replace('`', '')}") from error


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
