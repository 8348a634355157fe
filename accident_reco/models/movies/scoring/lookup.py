"""Finds the movies of a version by id, by words of the title, by genre. Knows nothing of users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from accident_reco.models.movies.data.titles import TitleIndex
from accident_reco.models.movies.scoring.packing import unpack_texts


class UnknownMovie(LookupError):
    """No movie of this version has that id."""


class MovieLookup:
    """The catalogue of a bundle. Positions are those of its arrays, ascending by movie id."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.movie_id = arrays["movie_id"]
        self.rating_count = arrays["rating_count"]
        self.titles = TitleIndex(unpack_texts(arrays["title_bytes"], arrays["title_end"]))
        self.years = arrays["year"]
        self.genre_names: list[str] = arrays["genre_names"].tolist()
        self.genre_bits = arrays["genre_bits"]
        self._by_genre = {name.casefold(): np.uint64(1 << number) for number, name in enumerate(self.genre_names)}

    def __len__(self) -> int:
        return len(self.movie_id)

    def find_positions(self, movie_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions of ids (0 where unknown) and which are known."""
        if not len(self):
            return np.zeros(len(movie_ids), dtype=np.int64), np.zeros(len(movie_ids), dtype=bool)
        at = np.minimum(np.searchsorted(self.movie_id, movie_ids), len(self) - 1)
        return at, self.movie_id[at] == movie_ids

    def find_position(self, movie_id: int) -> int:
        """Position of one id. Raises UnknownMovie."""
        at, known = self.find_positions(np.array([movie_id]))
        if not known[0]:
            raise UnknownMovie(f"this version has no movie {movie_id}; GET /movies?query=… finds ids by title")
        return int(at[0])

    def describe(self, row: int) -> dict[str, Any]:
        """Catalogue entry of the movie at a position."""
        year = int(self.years[row])
        return {
            "movie_id": int(self.movie_id[row]),
            "title": self.titles[row],
            "genres": self.list_genres(row),
            "year": year if year > 0 else None,
            "ratings": int(self.rating_count[row]),
        }

    def search(self, query: str, count: int) -> list[dict[str, Any]]:
        """Movies whose title contains every word of the query, the most rated first; of all movies without a query."""
        if not query:
            by_ratings = np.lexsort((self.movie_id, -self.rating_count.astype(np.int64)))
            return [self.describe(row) for row in by_ratings[:count].tolist()]
        found = self.titles.search(query)
        found.sort(key=lambda row: (-int(self.rating_count[row]), int(self.movie_id[row])))
        return [self.describe(row) for row in found[:count]]

    def list_genres(self, row: int) -> list[str]:
        """Genre names of the movie at a position."""
        bits = int(self.genre_bits[row])
        return [name for number, name in enumerate(self.genre_names) if bits >> number & 1]

    def mask_genres(self, genres: Sequence[str], excluded: Sequence[str]) -> np.ndarray:
        """Mask of the movies of any of `genres` (all movies for none) and of none of `excluded`."""
        mask = (self.genre_bits & self._pack_genres(genres)) != 0 if genres else np.ones(len(self), dtype=bool)
        return mask & ((self.genre_bits & self._pack_genres(excluded)) == 0) if excluded else mask

    def find_unknown_genres(self, names: Sequence[str]) -> list[str]:
        """Names that are no genre of this version, sorted."""
        return sorted({name for name in names if name.casefold() not in self._by_genre})

    def _pack_genres(self, names: Sequence[str]) -> np.uint64:
        bits = [self._by_genre.get(name.casefold(), np.uint64(0)) for name in names]
        return np.bitwise_or.reduce(np.array(bits, dtype=np.uint64))
