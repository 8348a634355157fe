"""What a stranger is shown: how well liked each movie is, by a damped mean in which old ratings fade. Pure."""

import numpy as np

DAY_SECONDS = 86_400


def damped_popularity(
    movie: np.ndarray,
    rating: np.ndarray,
    rated_at: np.ndarray,
    movies: int,
    *,
    damping: float,
    half_life_days: float,
    now: int | None = None,
) -> np.ndarray:
    """Weighted mean of each movie's stars, pulled to the overall mean by `damping` imaginary average ratings.

    score(m) = (Σ w·r + damping·μ) / (Σ w + damping), w = 2^(-age / half life), age up to the newest rating (or `now`),
    so that a set of 1998 is not forgotten as a whole.

    Args:
        movie: position of the rated movie, shape (n,), in [0, movies).
        rated_at: seconds since 1970 UTC, shape (n,).

    Returns:
        Stars, float32, shape (movies,). A movie without ratings gets the overall mean.
    """
    if not len(movie):
        return np.zeros(movies, dtype=np.float32)
    newest = int(rated_at.max()) if now is None else now
    age_days = np.maximum(newest - rated_at, 0) / DAY_SECONDS
    weight = np.exp2(-age_days / half_life_days)
    mean = float(np.average(rating, weights=weight))
    total = np.bincount(movie, weights=weight, minlength=movies)
    stars = np.bincount(movie, weights=weight * rating, minlength=movies)
    return ((stars + damping * mean) / (total + damping)).astype(np.float32)
