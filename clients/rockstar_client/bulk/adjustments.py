"""Counts of what was changed in the rows of a bulk run, so that nothing is imputed silently."""

import threading
from collections import Counter
from collections.abc import Collection

from rockstar_contract.tables import Adjustments


class AdjustmentCounts:
    """How many rows had each column imputed, taken as "other" or ignored; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows = 0
        self._imputed: Counter[str] = Counter()
        self._other: Counter[str] = Counter()
        self._ignored: dict[str, None] = {}

    def add(self, rows: int, adjusted: Collection[Adjustments]) -> None:
        """Count a batch of `rows` rows, of which some were adjusted."""
        with self._lock:
            self._rows += rows
            for each in adjusted:
                self._imputed.update([*each.imputed])
                self._other.update([*each.other])
                self._ignored.update(dict.fromkeys(each.ignored))

    def summary(self) -> str:
        """A sentence for each kind of change; empty where nothing was changed."""
        kinds = [
            ("Imputed", self._in_rows(self._imputed)),
            ("Unknown categories taken as other", self._in_rows(self._other)),
            ("Ignored columns", ", ".join(self._ignored)),
        ]
        return " ".join(f"{kind}: {columns}." for kind, columns in kinds if columns)

    def _in_rows(self, columns: Counter[str]) -> str:
        return ", ".join(
            f"{name} in {count:,} of {self._rows:,} rows" for name, count in columns.most_common()
        )
