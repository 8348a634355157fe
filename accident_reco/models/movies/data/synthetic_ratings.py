"""Generates movies, users and ratings with relations that a model can learn, for the sample files.

Movies have genres, a quality and a long-tailed popularity; users have preferences for genres and for hidden styles, a
bias and an activity. A rating is quality + bias + preference + noise, on the half-star scale. Numpy only, seeded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# fmt: off
GENRES = (
    "Action", "Adventure", "Animation", "Children", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "IMAX", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)
# fmt: on
_GENRE_WEIGHTS = np.array(
    [1.8, 1.3, 0.6, 0.7, 3.8, 1.2, 0.4, 4.4, 0.8, 0.1, 1.0, 0.15, 0.35, 0.6, 1.6, 1.0, 1.9, 0.4, 0.17]
)
"""How common each genre is, roughly as in MovieLens."""
STYLES = 5
SEEN_PER_RATING = 9
"""Movies that a user comes across per rating."""
MAX_RATED_AT = 1_750_000_000
"""June 2025 in seconds UTC: no sample rating is later."""
# fmt: off
_FIRST = (
    "Silent", "Golden", "Last", "Broken", "Hidden", "Distant", "Burning", "Electric", "Midnight", "Paper",
    "Crimson", "Hollow", "Wandering", "Frozen", "Savage", "Gentle", "Secret", "Endless", "Forgotten", "Bitter",
    "Lonely", "Perfect", "Strange", "Wild", "Little", "Grand",
)
_SECOND = (
    "Harbour", "River", "Garden", "City", "Summer", "Detective", "Orchestra", "Empire", "Letter", "Horizon",
    "Dancer", "Winter", "Machine", "Promise", "Stranger", "Road", "Kingdom", "Island", "Mirror", "Thief", "Train",
    "Season", "Witness", "Station", "Voyage", "Heart",
)
# fmt: on


@dataclass(frozen=True)
class SyntheticMovies:
    """Movies of a generated catalogue. Arrays over movies; `flags` (movies, genres), `style` (movies, STYLES)."""

    title: list[str]
    year: np.ndarray
    flags: np.ndarray
    style: np.ndarray
    quality: np.ndarray
    popularity: np.ndarray

    @classmethod
    def generate(cls, movies: int, seed: int) -> SyntheticMovies:
        """Generate `movies` movies; the same seed gives the same ones."""
        random = np.random.default_rng([seed, 1])
        flags = np.zeros((movies, len(GENRES)), dtype=bool)
        share = _GENRE_WEIGHTS / _GENRE_WEIGHTS.sum()
        for nth in range(3):
            drawn = random.choice(len(GENRES), size=movies, p=share)
            add = random.random(movies) < (1.0 if nth == 0 else 0.55)
            flags[np.flatnonzero(add), drawn[add]] = True
        flags[random.random(movies) < 0.004] = False  # a few have none, as in the real files
        year = np.clip(2019 - random.exponential(14, movies), 1920, 2018).astype(np.int64)
        quality = random.normal(0, 0.45, movies)
        # Long tail: few movies get most ratings; good ones slightly more.
        rank = random.permutation(movies) + 1.0
        popularity = rank**-0.85 * np.exp(0.5 * quality)
        titles = _generate_titles(movies, random)
        style = random.normal(0, 1 / np.sqrt(STYLES), (movies, STYLES))
        return cls(titles, year, flags, style, quality, popularity / popularity.sum())


@dataclass(frozen=True)
class SyntheticUsers:
    """Users: preferences for genres and styles, bias, number of ratings, time of the first one (seconds UTC)."""

    genre: np.ndarray
    style: np.ndarray
    bias: np.ndarray
    ratings: np.ndarray
    since: np.ndarray

    @classmethod
    def generate(
        cls, users: int, mean_ratings: float, first: int, last: int, random: np.random.Generator
    ) -> SyntheticUsers:
        """Generate users who begin between two times and rate `mean_ratings` movies on average, at least 15."""
        activity = np.exp(random.normal(0, 0.9, users))
        counts = 15 + np.maximum(mean_ratings - 15, 1) * activity / np.exp(0.9**2 / 2)
        return cls(
            random.normal(0, 0.7, (users, len(GENRES))),
            random.normal(0, 1.4, (users, STYLES)),
            random.normal(0, 0.4, users),
            counts.astype(np.int64),
            random.integers(first, last, users),
        )


def generate_ratings(
    movies: SyntheticMovies, users: SyntheticUsers, random: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """Generate the ratings of users: movies are seen by popularity and rated by preference (most are not).

    Returns:
        user (index), movie (index), stars (half steps), seconds UTC; each (user, movie) once, sorted.
    """
    seen = users.ratings * SEEN_PER_RATING
    user = np.repeat(np.arange(len(users.bias)), seen)
    movie = np.searchsorted(np.cumsum(movies.popularity), random.random(len(user)) * (1 - 1e-12))
    movie = np.minimum(movie, len(movies.quality) - 1)
    pair = np.unique(user.astype(np.int64) * len(movies.quality) + movie)
    user, movie = pair // len(movies.quality), pair % len(movies.quality)
    preference = compute_preferences(movies, users, user, movie)
    watched = random.random(len(user)) < 1 / (1 + np.exp(-3.0 * (preference - 0.9)))
    user, movie, preference = user[watched], movie[watched], preference[watched]
    stars = round_to_half_stars(2.5 + movies.quality[movie] + users.bias[user] + 0.75 * preference, random)
    # Half of a user's ratings are of the first evening, as in the real files.
    first_evening = random.random(len(user)) < 0.5
    within_hours, within_months = random.exponential(3_600, len(user)), random.exponential(200 * 86_400, len(user))
    later = np.where(first_evening, within_hours, within_months)
    return user, movie, stars, np.minimum(users.since[user] + later.astype(np.int64), MAX_RATED_AT)


def compute_preferences(
    movies: SyntheticMovies, users: SyntheticUsers, user: np.ndarray, movie: np.ndarray
) -> np.ndarray:
    """Preference of each pair's user for the genres and style of its movie, about -2 to 2, shape of `user`."""
    share = movies.flags / np.maximum(movies.flags.sum(axis=1, keepdims=True), 1)
    kinds = np.hstack([share, movies.style]).astype(np.float32)
    preferences = np.hstack([users.genre, users.style]).astype(np.float32)
    return np.einsum("ij,ij->i", preferences[user], kinds[movie]).astype(np.float64)


def round_to_half_stars(opinion: np.ndarray, random: np.random.Generator, noise: float = 0.55) -> np.ndarray:
    """Opinions with noise on the half-star scale; whole stars are more frequent, as in the real files."""
    noisy = opinion + random.normal(0, noise, len(opinion))
    stars = np.where(random.random(len(opinion)) < 0.35, np.round(noisy), np.round(noisy * 2) / 2)
    return np.clip(stars, 0.5, 5.0)


def _generate_titles(movies: int, random: np.random.Generator) -> list[str]:
    one = random.integers(0, len(_FIRST), movies).tolist()
    two = random.integers(0, len(_SECOND), movies).tolist()
    kind = random.integers(0, 12, movies).tolist()
    titles = []
    for number, (first, second, form) in enumerate(zip(one, two, kind, strict=True)):
        name = f"{_FIRST[first]} {_SECOND[second]}"
        part = number // 97 + 2
        # Published titles, too, have commas, articles at the end and quotes.
        forms = {0: f"{name}, The", 1: f'"{name}"', 2: f"{name} {part}", 3: f"{name}: Part {part}"}
        titles.append(forms.get(form, name))
    return titles
