"""What json_document uses of simdjson, where that is not installed: the gateway runs without it.

orjson makes Python's own values at once, so there is never an Array or an Object.
"""

from typing import Any

import orjson


class Array:
    """No value is one."""


class Object:
    """No value is one."""


class Parser:
    """Reads documents."""

    def parse(self, body: bytes | memoryview) -> Any:
        """The root of a document, in Python's own types.

        Raises:
            ValueError: it is no JSON, or has numbers that are not: look at these, too.
        """
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise ValueError(f"NUMBER_ERROR or another: {error}") from error
