"""A made-up world of movies and people whose ratings can be learnt: the source of sample files and simulated ratings.

Movies have genres, a quality and a long-tailed popularity; people have likings per genre, a liking for hidden styles, a
mood and more or less time. A rating is quality + mood + liking + noise, on the half-star scale. Numpy only, seeded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GENRES = (
    "Action", "Adventure", "Animation", "Children", "Comedy", "Crime", "Documentary", "Drama", "Fantasy", "Film-Noir",
    "Horror", "IMAX", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
# How common each genre is, roughly as in MovieLens.
_COMMON = np.array(
    [1.8, 1.3, 0.6, 0.7, 3.8, 1.2, 0.4, 4.4, 0.8, 0.1, 1.0, 0.15, 0.35, 0.6, 1.6, 1.0, 1.9, 0.4, 0.17]
)  # fmt: skip
STYLES = 5
MET_PER_RATING = 9
LATEST = 1_750_000_000  # June 2025: no sample rating is later
_FIRST = (
    "Silent", "Golden", "Last", "Broken", "Hidden", "Distant", "Burning", "Electric", "Midnight", "Paper", "Crimson",
    "Hollow", "Wandering", "Frozen", "Savage", "Gentle", "Secret", "Endless", "Forgotten", "Bitter", "Lonely",
    "Perfect", "Strange", "Wild", "Little", "Grand",
)  # fmt: skip
_SECOND = (
    "Harbour", "River", "Garden", "City", "Summer", "Detective", "Orchestra", "Empire", "Letter", "Horizon", "Dancer",
    "Winter", "Machine", "Promise", "Stranger", "Road", "Kingdom", "Island", "Mirror", "Thief", "Train", "Season",
    "Witness", "Station", "Voyage", "Heart",
)  # fmt: skip


@dataclass(frozen=True)
class World:
    """The movies of a made-up catalogue. Arrays over movies; `flags` (movies, genres), `style` (movies, STYLES)."""

    title: list[str]
    year: np.ndarray
    flags: np.ndarray
    style: np.ndarray
    quality: np.ndarray
    popularity: np.ndarray

    @classmethod
    def make(cls, movies: int, seed: int) -> World:
        """Make `movies` movies; the same seed gives the same world."""
        random = np.random.default_rng([seed, 1])
        flags = np.zeros((movies, len(GENRES)), dtype=bool)
        share = _COMMON / _COMMON.sum()
        for nth in range(3):
            drawn = random.choice(len(GENRES), size=movies, p=share)
            add = random.random(movies) < (1.0 if nth == 0 else 0.55)
            flags[np.flatnonzero(add), drawn[add]] = True
        flags[random.random(movies) < 0.004] = False  # a few have none, as in the real files
        year = np.clip(2019 - random.exponential(14, movies), 1920, 2018).astype(np.int64)
        quality = random.normal(0, 0.45, movies)
        # Long tail: few movies take most ratings; good ones are seen a little more.
        rank = random.permutation(movies) + 1.0
        popularity = rank**-0.85 * np.exp(0.5 * quality)
        return cls(
            _titles(movies, random), year, flags, random.normal(0, 1 / np.sqrt(STYLES), (movies, STYLES)), quality,
            popularity / popularity.sum(),
        )  # fmt: skip


@dataclass(frozen=True)
class People:
    """People of a world: likings for genres and styles, mood, number of ratings, when they came (seconds UTC)."""

    genre: np.ndarray
    style: np.ndarray
    mood: np.ndarray
    ratings: np.ndarray
    since: np.ndarray

    @classmethod
    def make(cls, people: int, mean_ratings: float, first: int, last: int, random: np.random.Generator) -> People:
        """Make people who come between two times and rate `mean_ratings` movies on average, at least 15."""
        activity = np.exp(random.normal(0, 0.9, people))
        counts = 15 + np.maximum(mean_ratings - 15, 1) * activity / np.exp(0.9**2 / 2)
        return cls(
            random.normal(0, 0.7, (people, len(GENRES))), random.normal(0, 1.4, (people, STYLES)),
            random.normal(0, 0.4, people), counts.astype(np.int64),
            random.integers(first, last, people),
        )  # fmt: skip


def rate(world: World, people: People, random: np.random.Generator) -> tuple[np.ndarray, ...]:
    """What the people watch and what they think of it.

    Movies are met by popularity and watched by liking (most are passed over).

    Returns:
        person (index), movie (index), stars (half steps), seconds UTC; each (person, movie) once, sorted.
    """
    met = people.ratings * MET_PER_RATING
    person = np.repeat(np.arange(len(people.mood)), met)
    movie = np.searchsorted(np.cumsum(world.popularity), random.random(len(person)) * (1 - 1e-12))
    movie = np.minimum(movie, len(world.quality) - 1)
    pair = np.unique(person.astype(np.int64) * len(world.quality) + movie)
    person, movie = pair // len(world.quality), pair % len(world.quality)
    liking = likings(world, people.genre, people.style, person, movie)
    watched = random.random(len(person)) < 1 / (1 + np.exp(-3.0 * (liking - 0.9)))
    person, movie, liking = person[watched], movie[watched], liking[watched]
    stars = half_stars(2.5 + world.quality[movie] + people.mood[person] + 0.75 * liking, random)
    # Half of what somebody rates falls into the first evening, as in the real files.
    later = np.where(random.random(len(person)) < 0.5, random.exponential(3_600, len(person)),
                     random.exponential(200 * 86_400, len(person)))  # fmt: skip
    return person, movie, stars, np.minimum(people.since[person] + later.astype(np.int64), LATEST)


def likings(world: World, genre: np.ndarray, style: np.ndarray, person: np.ndarray, movie: np.ndarray) -> np.ndarray:
    """How much each person likes the kind of each movie, about -2 to 2, shape of `person`."""
    share = world.flags / np.maximum(world.flags.sum(axis=1, keepdims=True), 1)
    kinds = np.hstack([share, world.style]).astype(np.float32)
    tastes = np.hstack([genre, style]).astype(np.float32)
    return np.einsum("ij,ij->i", tastes[person], kinds[movie]).astype(np.float64)


def half_stars(opinion: np.ndarray, random: np.random.Generator, noise: float = 0.55) -> np.ndarray:
    """Opinions with noise on the half-star scale; whole stars are given more often, as in the real files."""
    noisy = opinion + random.normal(0, noise, len(opinion))
    stars = np.where(random.random(len(opinion)) < 0.35, np.round(noisy), np.round(noisy * 2) / 2)
    return np.clip(stars, 0.5, 5.0)


def _titles(movies: int, random: np.random.Generator) -> list[str]:
    one = random.integers(0, len(_FIRST), movies).tolist()
    two = random.integers(0, len(_SECOND), movies).tolist()
    kind = random.integers(0, 12, movies).tolist()
    titles = []
    for number, (first, second, form) in enumerate(zip(one, two, kind, strict=True)):
        name = f"{_FIRST[first]} {_SECOND[second]}"
        part = number // 97 + 2
        # Commas, articles at the end and quotes are what the published titles have, too.
        forms = {0: f"{name}, The", 1: f'"{name}"', 2: f"{name} {part}", 3: f"{name}: Part {part}"}
        titles.append(forms.get(form, name))
    return titles
