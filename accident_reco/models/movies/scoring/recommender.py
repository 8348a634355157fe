"""Answers with one version of the movie model: numpy only, no Surprise, no pickle, no database.

Callers bring a stored user's history; this module decides (by `cold_start`), scores (by `heads`), filters and explains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from accident_reco.models.movies.data.history import NOTHING, History
from accident_reco.models.movies.scoring import cold_start, rerank
from accident_reco.models.movies.scoring.lookup import MovieLookup
from accident_reco.models.movies.scoring.packing import FILE, read_arrays
from accident_reco.models.movies.scoring.scorers import (
    MAX_HISTORY,
    MAX_STORED_HISTORY,
    FactorHead,
    Histories,
    Taste,
    head_of,
)

Reason = Literal["personalised", "fold_in", "similar", "popular"]


@dataclass(frozen=True)
class RecommendOptions:
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


class Recommender:
    """One loaded version. Immutable: any number of threads may ask it."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.kind = str(arrays["kind"])
        self.low, self.high, self.step = (float(value) for value in arrays["scale"])
        self.user_id = arrays["user_id"]
        self.movies = MovieLookup(arrays)
        self.movie_id = self.movies.movie_id
        self.rating_count = self.movies.rating_count
        self.popularity = arrays["popularity"]
        self.head = head_of(arrays)
        held = {id(array): array for array in [*arrays.values(), *vars(self.head).values()]}
        self.nbytes = sum(array.nbytes for array in held.values() if isinstance(array, np.ndarray))
        self._rated = self.rating_count > 0

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], manifest: Any = None) -> Recommender:
        """Load a bundle's files (verified by the caller). Raises ValueError or KeyError for what is no movie bundle."""
        return cls(read_arrays(files[FILE]))

    # Who is asking

    def knows_user(self, user_id: int) -> bool:
        """Whether the version was trained on this user."""
        return self._user(user_id) is not None

    def taste(self, user_id: int | None, history: History) -> Taste | None:
        """What the version knows of a person: its own user, else folded in from the history, else None."""
        user = None if user_id is None else self._user(user_id)
        return self._taste(user, history, *self._learnt(history))

    def predict(self, user_id: int | None, movie_ids: np.ndarray, history: History = NOTHING) -> np.ndarray:
        """Predicted stars, clipped to the scale, float64; unknown people and movies fall back to what is known."""
        rows, known = self.movies.positions(movie_ids)
        taste = self.taste(user_id, history) or Taste(0.0, None, rows[:0], np.zeros(0, dtype=np.float32))
        if taste.vector is None and isinstance(self.head, FactorHead):
            nothing = np.zeros(self.head.movie_factors.shape[1], dtype=np.float32)
            taste = Taste(taste.bias, nothing, taste.movie, taste.rating)
        stars = np.full(len(rows), self.head.mean + taste.bias)
        stars[known] = self.head.rating(taste, rows[known])
        return np.clip(stars, self.low, self.high)

    def predict_pairs(
        self, user_ids: np.ndarray, movie_ids: np.ndarray, rated_by: np.ndarray, rated: History
    ) -> np.ndarray:
        """`predict` of many users of the training rows at once, a movie each; NaN where `predict` has to be asked.

        Args:
            rated_by: whose each rating of `rated` is, ascending.
        """
        stars = np.full(len(user_ids), np.nan)
        if not len(self.user_id) or not len(self.movies):
            return stars
        user = np.minimum(np.searchsorted(self.user_id, user_ids), len(self.user_id) - 1)
        movie, known = self.movies.positions(movie_ids)
        at, usable = self._learnt(rated)
        usable = usable[np.lexsort((at[usable], rated_by[usable]))]
        start, end = (np.searchsorted(rated_by[usable], user_ids, side=side) for side in ("left", "right"))
        taken = np.flatnonzero(known & (self.user_id[user] == user_ids) & (end - start <= MAX_STORED_HISTORY))
        histories = Histories(at[usable], rated.rating[usable], start[taken], end[taken])
        stars[taken] = np.clip(self.head.pair_ratings(user[taken], movie[taken], histories), self.low, self.high)
        return stars

    def unseen(self, history: History) -> np.ndarray:
        """Mask of the movies that anybody has rated and this person has not."""
        allowed = self._rated.copy()
        at, known = self.movies.positions(history.movie_id)
        allowed[at[known]] = False
        return allowed

    # What they get

    def recommend(
        self, user_id: int | None, wishes: RecommendOptions, history: History = NOTHING, given: History = NOTHING
    ) -> Answer:
        """Movies for a stored user (with the stored history) or for somebody who brings ratings (`given`).

        Given ratings win: they describe the person of this request.
        """
        brought = len(given) > 0
        person = given if brought else history
        user = None if user_id is None or brought else self._user(user_id)
        at, usable = self._learnt(person)
        decided = cold_start.plan(
            asked_for_user=user_id is not None and not brought,
            in_model=user is not None,
            newer_ratings=person.newer,
            known=len(usable),
            unknown=len(person) - len(usable),
        )
        allowed = self._rated if wishes.include_seen else self.unseen(person)
        allowed, problem = self._of_wished_genres(allowed, wishes)
        taste = None
        if decided.way != "popular":
            taste = self._taste(None if decided.way == "fold_in" else user, person, at, usable)
        pool = rerank.pool_size(wishes.count, wishes.diversity)
        if taste is None:
            rows, score = rerank.best(self.popularity, allowed, pool)
        else:
            rows, score = self.head.best(taste, allowed, pool)
        picks = self._picks(rows, score, wishes, taste, decided.way)
        if not picks and problem:
            return Answer([], decided.way, problem)
        notes = [text for text in (decided.note, problem, None if picks else self._why_empty(wishes)) if text]
        return Answer(picks, decided.way, "; ".join(notes) or None)

    def similar(self, movie_id: int, wishes: RecommendOptions) -> Answer:
        """Movies like this one. Raises UnknownMovie."""
        row = self.movies.position(movie_id)
        allowed, note = self._of_wished_genres(self._rated, wishes)
        allowed = allowed.copy()
        allowed[row] = False
        score = self.head.likeness(np.array([row]), np.arange(len(self.movies)))[0].astype(np.float64)
        if not self._rated[row] or score[allowed].max(initial=0) <= 0:
            # Nobody has rated it: genres are all that is known.
            score = self._genre_likeness(row)
            note = "too few ratings to compare tastes: movies of the same genres, well liked first"
        rows, score = rerank.best(score, allowed & (score > 0), rerank.pool_size(wishes.count, wishes.diversity))
        picks = self._picks(rows, score, wishes, None, "similar")
        return Answer(picks, "similar", note or (None if picks else "no other movie is like this one"))

    # How

    def _user(self, user_id: int) -> int | None:
        at = int(np.searchsorted(self.user_id, user_id))
        return at if at < len(self.user_id) and self.user_id[at] == user_id else None

    def _learnt(self, history: History) -> tuple[np.ndarray, np.ndarray]:
        """Positions of a history's movies, and which of its rows are of movies that the version has learnt about."""
        at, known = self.movies.positions(history.movie_id)
        return at, np.flatnonzero(known & self._rated[at]) if len(self.movies) else np.flatnonzero(known)

    def _taste(self, user: int | None, history: History, at: np.ndarray, usable: np.ndarray) -> Taste | None:
        """Taste of the user at a position, or of somebody whose usable ratings are folded in; of these the newest."""
        most = MAX_HISTORY if user is None else MAX_STORED_HISTORY
        if len(usable) > most:
            usable = np.sort(usable[np.argsort(-history.rated_at[usable], kind="stable")[:most]])
        rows, rating = at[usable], history.rating[usable]
        if user is not None:
            return self.head.stored(user, rows, rating)
        return self.head.fold_in(rows, rating) if len(rows) else None

    def _of_wished_genres(self, allowed: np.ndarray, wishes: RecommendOptions) -> tuple[np.ndarray, str | None]:
        """Which of the allowed movies the genre wishes leave, and what was wrong with the wishes."""
        if not wishes.genres and not wishes.exclude_genres:
            return allowed, None
        problem = None
        if unknown := self.movies.unknown_genres([*wishes.genres, *wishes.exclude_genres]):
            genres = ", ".join(self.movies.genre_names) or "none"
            problem = f"no movie has the genre {', '.join(unknown)}; genres are: {genres}"
        return allowed & self.movies.of_genres(wishes.genres, wishes.exclude_genres), problem

    def _why_empty(self, wishes: RecommendOptions) -> str:
        if not len(self.movies):
            return "the catalogue is empty"
        if wishes.genres or wishes.exclude_genres:
            return "no unseen movie is left in these genres"
        return "every movie of this version was seen; include_seen gives them again"

    def _picks(
        self, rows: np.ndarray, score: np.ndarray, wishes: RecommendOptions, taste: Taste | None, reason: Reason
    ) -> list[Pick]:
        if wishes.diversity > 0:
            nth = rerank.diversify(score, self._alike(rows), wishes.count, wishes.diversity)
            rows, score = rows[nth], score[nth]
        rows, score = rows[: wishes.count], score[: wishes.count]
        if not len(rows):
            return []
        stars = self.popularity[rows] if taste is None else self.head.rating(taste, rows)
        stars = np.clip(stars, self.low, self.high)
        because = self._because(rows, taste) if wishes.because and taste is not None else [[] for _ in rows]
        columns = (rows.tolist(), score.tolist(), stars.tolist(), because)
        return [
            Pick(int(self.movie_id[row]), self.movies.titles[row], self.movies.genres_of(row), value, star, reason, why)
            for row, value, star, why in zip(*columns, strict=True)
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
        return [
            [self._rated_movie(taste, liked[nth]) for nth in np.argsort(-row, kind="stable")[:2] if row[nth] > 0]
            for row in alike
        ]

    def _rated_movie(self, taste: Taste, nth: int) -> dict[str, Any]:
        row = int(taste.movie[nth])
        stars = float(taste.rating[nth])
        return {"movie_id": int(self.movie_id[row]), "title": self.movies.titles[row], "rating": stars}
