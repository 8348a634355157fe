"""Answers with one version of the movie model: numpy only, no Surprise, no pickle, no database.

Callers bring a stored user's history; this module decides (by `cold_start`), scores (by `heads`), filters and explains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from accident_reco.movies import cold_start, rerank
from accident_reco.movies.heads import MAX_HISTORY, MAX_STORED_HISTORY, Taste, head_of
from accident_reco.movies.packing import FILE, read_arrays, unpack_texts
from accident_reco.movies.titles import Titles

Reason = Literal["personalised", "fold_in", "similar", "popular"]


@dataclass(frozen=True)
class History:
    """A person's ratings by movie id, and whether some came after the version's training rows were read."""

    movie_id: np.ndarray
    rating: np.ndarray
    rated_at: np.ndarray
    newer: bool = False

    @classmethod
    def of(
        cls,
        movie_id: Sequence[int],
        rating: Sequence[float],
        rated_at: Sequence[int] | None = None,
        newer: bool = False,
    ) -> History:
        """From plain sequences; without times all ratings are equally old."""
        times = np.zeros(len(movie_id), dtype=np.int64) if rated_at is None else np.asarray(rated_at, dtype=np.int64)
        return cls(np.asarray(movie_id, dtype=np.int64), np.asarray(rating, dtype=np.float32), times, newer)


NOTHING = History.of([], [])


@dataclass(frozen=True)
class Wishes:
    """What the person asked for besides movies to their taste."""

    count: int = 10
    genres: Sequence[str] = ()
    exclude_genres: Sequence[str] = ()
    include_seen: bool = False
    diversity: float = 0.0
    because: bool = False


@dataclass(frozen=True)
class Pick:
    """One recommended movie. `score` is what the list is ordered by; `predicted_rating` is in stars."""

    movie_id: int
    title: str
    genres: list[str]
    score: float
    predicted_rating: float
    reason: Reason
    because: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Answer:
    """Picks, best first, how they were found, and what the person should know (a fallback, an empty list)."""

    picks: list[Pick]
    reason: Reason
    note: str | None = None


class UnknownMovie(LookupError):
    """No movie of this version has that id."""


class Recommender:
    """One loaded version. Immutable: any number of threads may ask it."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.kind = str(arrays["kind"])
        self.low, self.high, self.step = (float(value) for value in arrays["scale"])
        self.movie_id = arrays["movie_id"]
        self.user_id = arrays["user_id"]
        self.titles = Titles(unpack_texts(arrays["title_bytes"], arrays["title_end"]))
        self.years = arrays["year"]
        self.genre_names: list[str] = arrays["genre_names"].tolist()
        self.genre_bits = arrays["genre_bits"]
        self.rating_count = arrays["rating_count"]
        self.popularity = arrays["popularity"]
        self.head = head_of(arrays)
        self.nbytes = sum(array.nbytes for array in arrays.values())
        self._by_genre = {name.casefold(): np.uint64(1 << number) for number, name in enumerate(self.genre_names)}
        self._unrated = np.flatnonzero(self.rating_count == 0)

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], manifest: Any = None) -> Recommender:
        """Load a bundle's files (verified by the caller). Raises ValueError or KeyError for what is no movie bundle."""
        return cls(read_arrays(files[FILE]))

    # Who is asking

    def knows_user(self, user_id: int) -> bool:
        """Whether the version was trained on this user."""
        return self._user(user_id) is not None

    def taste(self, user_id: int | None, history: History, *, refold: bool = False) -> Taste | None:
        """What the version knows of a person: its own user, else folded in from the history, else None."""
        user = None if user_id is None else self._user(user_id)
        if user is not None and not refold:
            return self.head.stored(user, *self._known(history, MAX_STORED_HISTORY))
        rows, rating = self._known(history)
        return self.head.fold_in(rows, rating) if len(rows) else None

    def predict(self, user_id: int | None, movie_ids: np.ndarray, history: History = NOTHING) -> np.ndarray:
        """Predicted stars, clipped to the scale, float64; unknown people and movies fall back to what is known."""
        rows, known = self._rows(movie_ids)
        taste = self.taste(user_id, history) or Taste(0.0, None, rows[:0], np.zeros(0, dtype=np.float32))
        if taste.vector is None and self.kind in ("svd", "als"):
            taste = Taste(taste.bias, np.zeros(self.head.movie_factors.shape[1], np.float32), taste.movie, taste.rating)  # type: ignore[attr-defined]
        stars = np.full(len(rows), self.head.mean + taste.bias)
        stars[known] = self.head.rating(taste, rows[known])
        return np.clip(stars, self.low, self.high)

    # What they get

    def recommend(
        self, user_id: int | None, wishes: Wishes, history: History = NOTHING, given: History = NOTHING
    ) -> Answer:
        """Movies for a stored user (with the stored history) or for somebody who brings ratings (`given`).

        Given ratings win: they describe the person of this request.
        """
        brought = len(given.movie_id) > 0
        person = given if brought else history
        rows, _ = self._known(person)
        decided = cold_start.plan(
            asked_for_user=user_id is not None and not brought,
            in_model=user_id is not None and self.knows_user(user_id),
            newer_ratings=person.newer,
            stored=0 if brought else len(rows),
            given=len(rows) if brought else 0,
            given_unknown=len(person.movie_id) - len(rows) if brought else 0,
        )
        wanted, problem = self._allowed(wishes)
        if problem and not wanted.any():
            return Answer([], decided.way, problem)
        taste = None
        if decided.way != "popular":
            taste = self.taste(None if brought else user_id, person, refold=decided.way == "fold_in")
        score = self.popularity.copy() if taste is None else self.head.ranking(taste)
        seen = self._rows(person.movie_id)
        blocked = seen[0][seen[1]] if not wishes.include_seen else rows[:0]
        picks = self._pick(score, wanted, blocked, wishes, taste, decided.way)
        notes = [text for text in (decided.note, problem, None if picks else self._why_empty(wishes)) if text]
        return Answer(picks, decided.way, "; ".join(notes) or None)

    def similar(self, movie_id: int, wishes: Wishes) -> Answer:
        """Movies like this one. Raises UnknownMovie."""
        rows, known = self._rows(np.array([movie_id]))
        if not known[0]:
            raise UnknownMovie(f"this version has no movie {movie_id}; GET /movies?query=… finds ids by title")
        wanted, problem = self._allowed(wishes)
        everything = np.arange(len(self.movie_id))
        score = self.head.likeness(rows, everything)[0].astype(np.float64)
        note = problem
        if self.rating_count[rows[0]] == 0 or score[np.delete(everything, rows[0])].max(initial=0) <= 0:
            # Nobody has rated it: genres are all that is known.
            score = self._genre_likeness(int(rows[0]))
            note = "too few ratings to compare tastes: movies of the same genres, well liked first"
        picks = self._pick(score, wanted, rows, wishes, None, "similar", least=1e-9)
        return Answer(picks, "similar", note or (None if picks else "no other movie is like this one"))

    def movie(self, row: int) -> dict[str, Any]:
        """What the catalogue says of the movie at a position."""
        year = int(self.years[row])
        return {
            "movie_id": int(self.movie_id[row]),
            "title": self.titles[row],
            "genres": self.genres_of(row),
            "year": year if year > 0 else None,
            "ratings": int(self.rating_count[row]),
        }

    def title_of(self, movie_id: int) -> str:
        """Title of a movie. Raises UnknownMovie."""
        rows, known = self._rows(np.array([movie_id]))
        if not known[0]:
            raise UnknownMovie(f"this version has no movie {movie_id}")
        return self.titles[rows[0]]

    def search(self, query: str, count: int = 20) -> list[dict[str, Any]]:
        """Movies whose title contains every word of the query, the most rated first."""
        found = self.titles.containing(query)
        found.sort(key=lambda row: (-int(self.rating_count[row]), int(self.movie_id[row])))
        return [self.movie(row) for row in found[:count]]

    def genres_of(self, row: int) -> list[str]:
        """Genre names of the movie at a position."""
        bits = int(self.genre_bits[row])
        return [name for number, name in enumerate(self.genre_names) if bits >> number & 1]

    # How

    def _user(self, user_id: int) -> int | None:
        at = int(np.searchsorted(self.user_id, user_id))
        return at if at < len(self.user_id) and self.user_id[at] == user_id else None

    def _rows(self, movie_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions of ids (0 where unknown) and which are known."""
        if not len(self.movie_id):
            return np.zeros(len(movie_ids), dtype=np.int64), np.zeros(len(movie_ids), dtype=bool)
        at = np.minimum(np.searchsorted(self.movie_id, movie_ids), len(self.movie_id) - 1)
        return at, self.movie_id[at] == movie_ids

    def _known(self, history: History, most: int = MAX_HISTORY) -> tuple[np.ndarray, np.ndarray]:
        """Positions and stars of a history's movies that the version has learnt about, the newest `most`."""
        rows, known = self._rows(history.movie_id)
        usable = np.flatnonzero(known)
        usable = usable[self.rating_count[rows[usable]] > 0]
        if len(usable) > most:
            usable = np.sort(usable[np.argsort(-history.rated_at[usable], kind="stable")[:most]])
        return rows[usable], history.rating[usable]

    def _allowed(self, wishes: Wishes) -> tuple[np.ndarray, str | None]:
        """Which movies the genre wishes leave (a mask), and what was wrong with the wishes."""
        asked = [*wishes.genres, *wishes.exclude_genres]
        unknown = sorted({name for name in asked if name.casefold() not in self._by_genre})
        problem = None
        if unknown:
            known_genres = ", ".join(self.genre_names) or "none"
            problem = f"no movie has the genre {', '.join(unknown)}; genres are: {known_genres}"
        wanted = np.ones(len(self.movie_id), dtype=bool)
        if wishes.genres:
            wanted = (self.genre_bits & self._mask(wishes.genres)) != 0
        if wishes.exclude_genres:
            wanted &= (self.genre_bits & self._mask(wishes.exclude_genres)) == 0
        return wanted, problem

    def _mask(self, names: Sequence[str]) -> np.uint64:
        bits = [self._by_genre.get(name.casefold(), np.uint64(0)) for name in names]
        return np.bitwise_or.reduce(np.array(bits, dtype=np.uint64))

    def _why_empty(self, wishes: Wishes) -> str:
        if not len(self.movie_id):
            return "the catalogue is empty"
        if wishes.genres or wishes.exclude_genres:
            return "no unseen movie is left in these genres"
        return "every movie of this version was seen; include_seen gives them again"

    def _pick(
        self,
        score: np.ndarray,
        wanted: np.ndarray,
        blocked: np.ndarray,
        wishes: Wishes,
        taste: Taste | None,
        reason: Reason,
        least: float = -np.inf,
    ) -> list[Pick]:
        if wishes.genres or wishes.exclude_genres:
            score[~wanted] = -np.inf
        score[self._unrated] = -np.inf
        score[blocked] = -np.inf
        pool = rerank.top(score, rerank.pool_size(wishes.count, wishes.diversity))
        pool = pool[score[pool] > least]
        if wishes.diversity > 0:
            pool = rerank.diversify(pool, score[pool], self._alike(pool), wishes.count, wishes.diversity)
        chosen = pool[: wishes.count]
        if not len(chosen):
            return []
        stars = self.popularity[chosen] if taste is None else self.head.rating(taste, chosen)
        stars = np.clip(stars, self.low, self.high)
        because = self._because(chosen, taste) if wishes.because and taste is not None else [[] for _ in chosen]
        return [
            Pick(
                int(self.movie_id[row]),
                self.titles[row],
                self.genres_of(row),
                float(score[row]),
                float(star),
                reason,
                why,
            )
            for row, star, why in zip(chosen.tolist(), stars.tolist(), because, strict=True)
        ]

    def _alike(self, pool: np.ndarray) -> np.ndarray:
        """Likeness within the pool: half by taste, half by genre (tastes alone leave five parts of one series)."""
        genres = self.head.genres[pool]
        return 0.5 * np.clip(self.head.likeness(pool, pool), 0, 1) + 0.5 * (genres @ genres.T)

    def _genre_likeness(self, row: int) -> np.ndarray:
        shared = self.head.genres @ self.head.genres[row]
        return shared.astype(np.float64) + (shared > 0) * 1e-3 * self.popularity

    def _because(self, chosen: np.ndarray, taste: Taste) -> list[list[dict[str, Any]]]:
        """For each pick up to two rated movies that are most like it and most liked; none below the own average."""
        liked = np.flatnonzero(taste.rating >= taste.rating.mean()) if len(taste.rating) else np.zeros(0, dtype=int)
        if not len(liked):
            return [[] for _ in chosen]
        liking = taste.rating[liked] - taste.rating.mean() + 0.5
        alike = self.head.likeness(chosen, taste.movie[liked]) * liking
        answers = []
        for row in alike:
            best = [at for at in np.argsort(-row, kind="stable")[:2].tolist() if row[at] > 0]
            answers.append(
                [
                    {
                        "movie_id": int(self.movie_id[taste.movie[liked[at]]]),
                        "title": self.titles[taste.movie[liked[at]]],
                        "rating": float(taste.rating[liked[at]]),
                    }
                    for at in best
                ]
            )
        return answers
