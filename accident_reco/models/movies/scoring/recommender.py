"""Recommends with one version of the movie model: numpy only, no Surprise, no pickle, no database.

Callers pass a stored user's history; this module chooses a strategy (`cold_start`), scores (`candidates`), filters and
explains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from accident_reco.models.movies.candidates.heads import TRAINING_USERS, build_heads
from accident_reco.models.movies.candidates.scorer import (
    MAX_HISTORY,
    MAX_STORED_HISTORY,
    BaselineScorer,
    Histories,
    UserState,
)
from accident_reco.models.movies.candidates.selection import select_best
from accident_reco.models.movies.data.history import EMPTY_HISTORY, History
from accident_reco.models.movies.scoring import cold_start, rerank
from accident_reco.models.movies.scoring.answer import Answer, Because, RankedMovies, Reason
from accident_reco.models.movies.scoring.lookup import MovieLookup
from accident_reco.models.movies.scoring.packing import FILE, read_arrays


@dataclass(frozen=True)
class RecommendOptions:
    """Options of a request besides the user."""

    count: int = 10
    genres: Sequence[str] = ()
    exclude_genres: Sequence[str] = ()
    include_seen: bool = False
    diversity: float = 0.0
    because: bool = False


@dataclass(frozen=True)
class UserStates:
    """What the two heads of a version know of one user; the same object twice where one kind does both."""

    ranking: UserState
    stars: UserState


class Recommender:
    """One loaded version. Immutable: any number of threads may use it.

    Its ranking head orders the movies, and explains that order; its stars head predicts ratings.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.kind = str(arrays["kind"])
        self.low, self.high, self.step = (float(value) for value in arrays["scale"])
        self.user_id = arrays["user_id"]
        self.training_users = int(arrays.get(TRAINING_USERS, len(self.user_id)))
        self.movies = MovieLookup(arrays)
        self.movie_id = self.movies.movie_id
        self.rating_count = self.movies.rating_count
        self.popularity = arrays["popularity"]
        heads = build_heads(arrays)
        self.ranking, self.stars = heads.ranking, heads.stars
        owned = [*arrays.values(), *vars(self.ranking).values(), *vars(self.stars).values()]
        held = {id(array): array for array in owned}
        self.nbytes = sum(array.nbytes for array in held.values() if isinstance(array, np.ndarray))
        self._rated = self.rating_count > 0

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Recommender:
        """Load a bundle's verified files. Raises ValueError or KeyError for files that are no movie bundle."""
        return cls(read_arrays(files[FILE]))

    def build_state(self, user_id: int | None, history: History) -> UserStates | None:
        """What the version knows of a user: its own user, else folded in from the history, else None."""
        user = None if user_id is None else self._find_user(user_id)
        return self._build_states(user, history, *self._find_usable(history))

    def predict(self, user_id: int | None, movie_ids: np.ndarray, history: History = EMPTY_HISTORY) -> np.ndarray:
        """Predicted stars, clipped to the scale, float64, shape of `movie_ids`; unknown users and movies get the mean
        and the biases that are known.
        """
        rows, known = self.movies.find_positions(movie_ids)
        user = None if user_id is None else self._find_user(user_id)
        state = self._build_state(self.stars, user, history, *self._find_usable(history))
        state = state or self.stars.build_unknown()
        stars = np.full(len(rows), self.stars.mean + state.bias)
        stars[known] = self.stars.predict_ratings(state, rows[known])
        return np.clip(stars, self.low, self.high)

    def predict_pairs(
        self, user_ids: np.ndarray, movie_ids: np.ndarray, rated_by: np.ndarray, rated: History
    ) -> np.ndarray:
        """`predict` for many users of the training rows at once, one movie each; NaN where `predict` is needed.

        Args:
            rated_by: user id of each rating of `rated`, ascending.
        """
        stars = np.full(len(user_ids), np.nan)
        if not len(self.user_id) or not len(self.movies):
            return stars
        user = np.minimum(np.searchsorted(self.user_id, user_ids), len(self.user_id) - 1)
        movie, known = self.movies.find_positions(movie_ids)
        at, usable = self._find_usable(rated)
        usable = usable[np.lexsort((at[usable], rated_by[usable]))]
        start, end = (np.searchsorted(rated_by[usable], user_ids, side=side) for side in ("left", "right"))
        taken = np.flatnonzero(known & (self.user_id[user] == user_ids) & (end - start <= MAX_STORED_HISTORY))
        histories = Histories(at[usable], rated.rating[usable], start[taken], end[taken])
        stars[taken] = np.clip(self.stars.predict_pairs(user[taken], movie[taken], histories), self.low, self.high)
        return stars

    def count_rated(self) -> int:
        """Number of movies with ratings, which can be recommended."""
        return int(self._rated.sum())

    def mask_unseen(self, history: History) -> np.ndarray:
        """Mask of the rated movies of the catalogue that are not in the history."""
        allowed = self._rated.copy()
        at, known = self.movies.find_positions(history.movie_id)
        allowed[at[known]] = False
        return allowed

    def rank_unseen(self, user_id: int | None, history: History, count: int) -> np.ndarray:
        """Ids of the `count` best movies that are not in the history, best first."""
        user = None if user_id is None else self._find_user(user_id)
        state = self._build_state(self.ranking, user, history, *self._find_usable(history))
        return self.movie_id[self._select_best(state, self.mask_unseen(history), count)[0]]

    def recommend(
        self,
        user_id: int | None,
        options: RecommendOptions,
        history: History = EMPTY_HISTORY,
        request_ratings: History = EMPTY_HISTORY,
    ) -> Answer:
        """Recommend movies for a stored user (with the stored history) or for the ratings of a request, which win."""
        has_ratings = len(request_ratings) > 0
        rated = request_ratings if has_ratings else history
        user = None if user_id is None or has_ratings else self._find_user(user_id)
        at, usable = self._find_usable(rated)
        plan = cold_start.choose_strategy(
            for_stored_user=user_id is not None and not has_ratings,
            in_model=user is not None,
            newer_ratings=rated.newer,
            known=len(usable),
            unknown=len(rated) - len(usable),
            by_history=self.ranking.needs_history,
        )
        allowed = self._rated if options.include_seen else self.mask_unseen(rated)
        allowed, problem = self._filter_genres(allowed, options)
        states = None
        if plan.strategy != "popular":
            states = self._build_states(None if plan.strategy == "fold_in" else user, rated, at, usable)
        pool = rerank.compute_pool_size(options.count, options.diversity)
        rows, score = self._select_best(None if states is None else states.ranking, allowed, pool)
        movies = self._rank(rows, score, options, states, plan.strategy)
        if not len(movies) and problem:
            return Answer(movies, plan.strategy, problem)
        empty = None if len(movies) else self._explain_empty(options)
        notes = [text for text in (plan.note, problem, empty) if text]
        return Answer(movies, plan.strategy, "; ".join(notes) or None)

    def find_similar(self, movie_id: int, options: RecommendOptions) -> Answer:
        """Movies similar to one movie. Raises UnknownMovie."""
        row = self.movies.find_position(movie_id)
        allowed, note = self._filter_genres(self._rated, options)
        allowed = allowed.copy()
        allowed[row] = False
        score = self.ranking.compute_similarity(np.array([row]), np.arange(len(self.movies)))[0].astype(np.float64)
        if not self._rated[row] or score[allowed].max(initial=0) <= 0:
            # Without ratings only the genres are known.
            score = self._compute_genre_similarity(row)
            note = "too few ratings to compare: movies of the same genres, by popularity"
        pool = rerank.compute_pool_size(options.count, options.diversity)
        movies = self._rank(*select_best(score, allowed & (score > 0), pool), options, None, "similar")
        return Answer(movies, "similar", note or (None if len(movies) else "no other movie is similar to this one"))

    def _find_user(self, user_id: int) -> int | None:
        at = int(np.searchsorted(self.user_id, user_id))
        return at if at < len(self.user_id) and self.user_id[at] == user_id else None

    def _find_usable(self, history: History) -> tuple[np.ndarray, np.ndarray]:
        """Positions of a history's movies, and its rows whose movies have training ratings."""
        at, known = self.movies.find_positions(history.movie_id)
        return at, np.flatnonzero(known & self._rated[at]) if len(self.movies) else np.flatnonzero(known)

    def _build_states(
        self, user: int | None, history: History, at: np.ndarray, usable: np.ndarray
    ) -> UserStates | None:
        """States of both heads, as `_build_state`."""
        ranking = stars = self._build_state(self.ranking, user, history, at, usable)
        if self.stars is not self.ranking:
            stars = self._build_state(self.stars, user, history, at, usable)
        return None if ranking is None or stars is None else UserStates(ranking, stars)

    @staticmethod
    def _build_state(
        head: BaselineScorer, user: int | None, history: History, at: np.ndarray, usable: np.ndarray
    ) -> UserState | None:
        """State of the user at a position, or of the usable ratings folded in; of too many ratings the newest."""
        limit = MAX_HISTORY if user is None else MAX_STORED_HISTORY
        if len(usable) > limit:
            usable = np.sort(usable[np.argsort(-history.rated_at[usable], kind="stable")[:limit]])
        rows, rating = at[usable], history.rating[usable]
        if user is not None:
            return head.load_user(user, rows, rating)
        return head.fold_in(rows, rating) if len(rows) else None

    def _select_best(self, state: UserState | None, allowed: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions and scores of the best movies for a user; the popular ones for an unknown user."""
        if state is None:
            return select_best(self.popularity, allowed, count)
        return self.ranking.select_best(state, allowed, count)

    def _filter_genres(self, allowed: np.ndarray, options: RecommendOptions) -> tuple[np.ndarray, str | None]:
        """Mask of the allowed movies of the requested genres, and the problem of the requested names (None: none)."""
        if not options.genres and not options.exclude_genres:
            return allowed, None
        problem = None
        if unknown := self.movies.find_unknown_genres([*options.genres, *options.exclude_genres]):
            genres = ", ".join(self.movies.genre_names) or "none"
            problem = f"no movie has the genre {', '.join(unknown)}; genres are: {genres}"
        return allowed & self.movies.mask_genres(options.genres, options.exclude_genres), problem

    def _explain_empty(self, options: RecommendOptions) -> str:
        if not len(self.movies):
            return "the catalogue is empty"
        if options.genres or options.exclude_genres:
            return "no unseen movie is left in these genres"
        return "every movie of this version was seen; include_seen returns them again"

    def _rank(
        self, rows: np.ndarray, score: np.ndarray, options: RecommendOptions, states: UserStates | None, reason: Reason
    ) -> RankedMovies:
        """The first `options.count` movies of a pool, diversified, with predicted ratings and explanations."""
        if options.diversity > 0:
            nth = rerank.diversify(score, self.compute_similarity(rows), options.count, options.diversity)
            rows, score = rows[nth], score[nth]
        rows, score = rows[: options.count], score[: options.count]
        stars = self.popularity[rows] if states is None else self.stars.predict_ratings(states.stars, rows)
        stars = np.clip(stars, self.low, self.high)
        because = self._explain(rows, states.ranking) if options.because and states is not None else [[] for _ in rows]
        return RankedMovies(self.movies, reason, rows, score, stars, because)

    def compute_similarity(self, rows: np.ndarray) -> np.ndarray:
        """Similarity among movies at positions, 0 to 1, shape (n, n): half by ratings, half by genre (by ratings alone
        a list may hold five parts of one series).
        """
        genres = self.ranking.genres[rows]
        return 0.5 * np.clip(self.ranking.compute_similarity(rows, rows), 0, 1) + 0.5 * (genres @ genres.T)

    def _compute_genre_similarity(self, row: int) -> np.ndarray:
        shared = self.ranking.genres @ self.ranking.genres[row]
        return shared.astype(np.float64) + (shared > 0) * 1e-3 * self.popularity

    def _explain(self, rows: np.ndarray, state: UserState) -> list[list[Because]]:
        """For each movie up to two rated movies that contribute most to its place in the order."""
        contributions = self.ranking.compute_contributions(state, rows)
        return [
            [self._describe_rated(state, nth) for nth in np.argsort(-row, kind="stable")[:2].tolist() if row[nth] > 0]
            for row in contributions
        ]

    def _describe_rated(self, state: UserState, nth: int) -> Because:
        row = int(state.movie[nth])
        return Because(int(self.movie_id[row]), self.movies.titles[row], float(state.rating[nth]))
