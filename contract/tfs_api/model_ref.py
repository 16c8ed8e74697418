"""What requests name a model's version by."""

import msgspec

MAX_VERSION = 2**63 - 1


class ModelRef(msgspec.Struct, frozen=True):
    """What a request asks for: a model, and perhaps a version or a label, never both."""

    name: str
    version: int | None = None
    label: str | None = None
