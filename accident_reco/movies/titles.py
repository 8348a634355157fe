"""Finds movies by words of their titles: one text of all titles, searched from hit to hit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Titles:
    """Titles by position, and the search in them."""

    def __init__(self, titles: Sequence[str]) -> None:
        self._titles = list(titles)
        folded = [title.casefold() for title in self._titles]
        self._text = "\n".join(folded)
        self._start = np.concatenate([[0], np.cumsum([len(text) + 1 for text in folded])])[:-1]

    def __getitem__(self, row: int) -> str:
        return self._titles[row]

    def __len__(self) -> int:
        return len(self._titles)

    def containing(self, query: str) -> list[int]:
        """Positions of titles that contain every word of the query, in any case; none for a query without words."""
        words = query.casefold().split()
        if not words:
            return []
        longest = max(words, key=len)
        rows: list[int] = []
        at = self._text.find(longest)
        while at >= 0:
            rows.append(int(np.searchsorted(self._start, at, side="right")) - 1)
            # On to the next title: one hit in each is enough.
            end = self._text.find("\n", at)
            at = self._text.find(longest, end) if end >= 0 else -1
        return [row for row in rows if all(word in self._titles[row].casefold() for word in words)]
