"""Finds movies by words of their titles: all titles as one text, searched from hit to hit."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate


class TitleIndex:
    """Titles by position, with full-text search."""

    def __init__(self, titles: Sequence[str]) -> None:
        self._titles = list(titles)
        folded = [_fold(title) for title in self._titles]
        self._text = "\n".join(folded)
        self._start = list(accumulate((len(text) + 1 for text in folded), initial=0))

    def __getitem__(self, row: int) -> str:
        return self._titles[row]

    def __len__(self) -> int:
        return len(self._titles)

    def search(self, query: str) -> list[int]:
        """Positions of titles that contain every word of the query, in any case; none for a query without words.

        Accents are ignored: few users type those of every language.
        """
        words = _fold(query).split()
        if not words:
            return []
        longest = max(words, key=len)
        rows: list[int] = []
        at = self._text.find(longest)
        while at >= 0:
            rows.append(bisect_right(self._start, at) - 1)
            # Continue with the next title: one hit in each is enough.
            end = self._text.find("\n", at)
            at = self._text.find(longest, end) if end >= 0 else -1
        return [row for row in rows if all(self._contains(row, word) for word in words)]

    def _contains(self, row: int, word: str) -> bool:
        return self._text.find(word, self._start[row], self._start[row + 1]) >= 0


def _fold(text: str) -> str:
    """Text for comparison: case folded, letters without accents."""
    if not text.isascii():
        text = "".join(part for part in unicodedata.normalize("NFKD", text) if not unicodedata.combining(part))
    return text.casefold()
