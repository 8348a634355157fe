"""Builds the movie bundle's `arrays.npz`: everything that a server needs, as plain arrays over the catalogue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accident_reco.models.movies.data.ratings import Catalogue, Ratings, RatingScale, parse_years
from accident_reco.models.movies.scoring.packing import encode_genres, pack_texts
from accident_reco.models.movies.training.fitting import FittedModel
from accident_reco.models.movies.training.popularity import compute_popularity


@dataclass(frozen=True)
class PopularityOptions:
    """How the ranking for unknown users is computed; see `popularity.compute_popularity`."""

    damping: float = 60.0
    half_life_days: float = 1460.0


def build_arrays(
    model: FittedModel, catalogue: Catalogue, train: Ratings, scale: RatingScale, popularity: PopularityOptions
) -> dict[str, np.ndarray]:
    """Build a bundle's arrays: a fitted model spread over all movies of the catalogue. Movies without training ratings
    get no bias and no factors.

    Raises ValueError where the model has a movie that the catalogue lacks.
    """
    place = np.searchsorted(catalogue.movie_id, model.movie_ids)
    if len(catalogue) == 0 or (catalogue.movie_id[np.minimum(place, len(catalogue) - 1)] != model.movie_ids).any():
        raise ValueError("the model was trained on movies that the catalogue lacks; materialize both from one source")
    rated = np.searchsorted(catalogue.movie_id, train.movie_id)
    counts = np.bincount(rated, minlength=len(catalogue))
    names, bits = encode_genres(catalogue.genres)
    titles, ends = pack_texts(catalogue.title)
    popular = compute_popularity(
        rated,
        train.rating,
        train.rated_at,
        len(catalogue),
        damping=popularity.damping,
        half_life_days=popularity.half_life_days,
    )
    return {
        "kind": np.array(model.candidate.kind),
        "scale": np.array([scale.low, scale.high, scale.step]),
        "movie_id": catalogue.movie_id,
        "title_bytes": titles,
        "title_end": ends,
        "year": parse_years(catalogue.title),
        "genre_names": np.array(names, dtype="U32") if names else np.zeros(0, dtype="U1"),
        "genre_bits": bits,
        "rating_count": counts.astype(np.int32),
        "popularity": popular,
        "user_id": model.user_ids,
        **model.spread(place, len(catalogue)),
        **{f"option_{name}": np.array(float(value)) for name, value in model.fit.options.items()},
    }
