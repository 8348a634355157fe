"""Numbers for ids that are published as text (`A3SGXH7AUHU8GW`, `B001E4KFG0`). Storing them is in `imports`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from accident_reco.models.movies.data.bounds import MAX_ID


class PublishedIds:
    """Published id → number: from 1 in the order of appearance; numbers that were given once never change.

    Args:
        known: numbers given by earlier imports.
    """

    def __init__(self, known: Mapping[str, int] | None = None) -> None:
        self._numbers = dict(known or {})
        self._next = max(self._numbers.values(), default=0) + 1
        self.fresh: dict[str, int] = {}

    def assign(self, text: str) -> int:
        """The number of one id; -1 for an empty one."""
        published = text.strip()
        if not published:
            return -1
        number = self._numbers.get(published)
        if number is None:
            number = self._numbers[published] = self.fresh[published] = self._next
            self._next += 1
            if number > MAX_ID:
                raise ValueError(f"more than {MAX_ID:,} ids")
        return number

    def assign_column(self, column: Any) -> np.ndarray:
        """Numbers of an Arrow column of text, int64; each distinct id is looked up once."""
        encoded = column.combine_chunks() if hasattr(column, "combine_chunks") else column
        encoded = encoded.fill_null("").dictionary_encode()
        numbers = np.array([self.assign(text) for text in encoded.dictionary.to_pylist()], dtype=np.int64)
        rows = encoded.indices.to_numpy(zero_copy_only=False)
        return numbers[rows] if len(numbers) else np.empty(0, dtype=np.int64)

    def take_fresh(self) -> dict[str, int]:
        """Ids assigned since the last call."""
        fresh, self.fresh = self.fresh, {}
        return fresh
