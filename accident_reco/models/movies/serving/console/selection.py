"""What a person has selected on the page of movies, as the address has it: ratings, user, genres, diversity. Pure.

Ratings of a user who is not stored are kept here alone: in the page and its address, in no service.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

from accident_reco.models.movies.data.bounds import MAX_ID

PATH: Final = "/m/movies"
MAX_RATINGS: Final = 120
MAX_GENRES: Final = 20
COUNTS: Final = (10, 20, 40)
DIVERSITIES: Final = ((0.0, "Best first"), (0.3, "A little variety"), (0.6, "Varied"), (0.9, "Very varied"))
_RATING: Final = re.compile(r"(\d{1,10})[:-]([0-5](?:\.[05])?)")


@dataclass(frozen=True)
class Selection:
    """The state of the page.

    Args:
        user_id: stored user; None: nobody, whose ratings are `ratings`.
        ratings: movie id → stars, in the order of the clicks.
        genres: only these.
        excluded: none of these.
        query: words of a title that is searched for.
        before: ids of the list that was shown before the latest rating, to mark what changed.
    """

    user_id: int | None = None
    ratings: tuple[tuple[int, float], ...] = ()
    genres: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    diversity: float = 0.0
    count: int = COUNTS[0]
    query: str = ""
    before: tuple[int, ...] = ()

    @classmethod
    def parse(cls, items: Iterable[tuple[str, str]]) -> Selection:
        """The state in parameters of an address or a form; what is not valid is left out, as links get damaged."""
        given: dict[str, list[str]] = {}
        for name, value in items:
            given.setdefault(name, []).append(value.strip())

        def one(name: str) -> str:
            return given.get(name, [""])[-1]

        def several(name: str) -> tuple[str, ...]:
            return tuple(dict.fromkeys(value[:32] for value in given.get(name, []) if value))[:MAX_GENRES]

        count = one("count")
        user = _read_id(one("user"))
        return cls(
            user_id=user,
            ratings=() if user is not None else _read_ratings(one("r")),
            genres=several("genre"),
            excluded=several("without"),
            diversity=_read_diversity(one("diversity")),
            count=int(count) if count in map(str, COUNTS) else COUNTS[0],
            query=one("query")[:200],
            before=tuple(found for text in one("before").split(".")[: max(COUNTS)] if (found := _read_id(text))),
        )

    def rate(self, movie_id: int, stars: float) -> Selection:
        """With a rating of nobody; a second one of a movie replaces the first. The oldest beyond the limit are lost."""
        others = tuple(pair for pair in self.ratings if pair[0] != movie_id)
        return replace(self, ratings=(*others, (movie_id, stars))[-MAX_RATINGS:])

    def forget(self, movie_id: int) -> Selection:
        """Without the rating of a movie."""
        return replace(self, ratings=tuple(pair for pair in self.ratings if pair[0] != movie_id))

    def parameters(self, **changes: Any) -> list[tuple[str, str]]:
        """Parameters that `parse` reads as this state with changes; defaults are left out."""
        state = replace(self, **changes)
        single = {
            "user": "" if state.user_id is None else str(state.user_id),
            "r": ".".join(f"{movie}-{stars:g}".replace(".", ",") for movie, stars in state.ratings),
            "diversity": f"{state.diversity:g}" if state.diversity else "",
            "count": str(state.count) if state.count != COUNTS[0] else "",
            "query": state.query,
            "before": ".".join(map(str, state.before)),
        }
        several = [("genre", name) for name in state.genres] + [("without", name) for name in state.excluded]
        return [(name, value) for name, value in single.items() if value] + several

    def url(self, path: str = PATH, **changes: Any) -> str:
        """Address of this state with changes."""
        query = urlencode(self.parameters(**changes))
        return f"{path}?{query}" if query else path

    def body(self) -> dict[str, Any]:
        """Body of `POST /predict/movies`."""
        options = {
            "count": self.count,
            "genres": list(self.genres),
            "exclude_genres": [name for name in self.excluded if name not in self.genres],
            "diversity": self.diversity,
            "because": True,
        }
        if self.user_id is not None:
            return {"user_id": self.user_id, **options}
        if self.ratings:
            return {"ratings": [{"movie_id": movie, "rating": stars} for movie, stars in self.ratings], **options}
        return options


def read_click(text: str) -> tuple[int, float] | None:
    """Movie id and stars of a button's value such as `318:4`; None where it is no rating."""
    found = _RATING.fullmatch(text)
    if found is None:
        return None
    movie, stars = _read_id(found[1]), float(found[2])
    return None if movie is None or not 0.5 <= stars <= 5 else (movie, stars)


def describe_changes(before: Sequence[int], movies: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a rating changed for each movie of a list: `new`, `up 3`, `down 1`, or nothing; empty without `before`."""
    if not before:
        return [""] * len(movies)
    earlier = {movie: place for place, movie in enumerate(before)}
    changes = []
    for place, movie in enumerate(movies):
        was = earlier.get(movie["movie_id"])
        moved = 0 if was is None else was - place
        changes.append("new" if was is None else f"up {moved}" if moved > 0 else f"down {-moved}" if moved else "")
    return changes


def _read_id(text: str) -> int | None:
    if not (text.isascii() and text.isdigit()) or len(text) > 10:
        return None
    return number if 1 <= (number := int(text)) <= MAX_ID else None


def _read_ratings(text: str) -> tuple[tuple[int, float], ...]:
    clicks = (read_click(part.replace(",", ".")) for part in text[:4_000].split("."))
    return tuple({movie: (movie, stars) for click in clicks if click for movie, stars in [click]}.values())[
        :MAX_RATINGS
    ]


def _read_diversity(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return round(value, 2) if 0 <= value <= 1 else 0.0
