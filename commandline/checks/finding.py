"""What a check found."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "failed", "skipped"]


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes:
        subject: what it is about, such as "cnn/3" or a file.
        status: how it is; "skipped" where it could not be found out.
        detail: what was found.
        fix: how to mend it, or an empty string.
    """

    subject: str
    status: Status
    detail: str
    fix: str = ""
