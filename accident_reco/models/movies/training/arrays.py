"""Builds the movie bundle's `arrays.npz`: everything that a server needs, as plain arrays over the catalogue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accident_reco.models.movies.data.rating_totals import RatingTotals
from accident_reco.models.movies.data.ratings import Catalogue, Ratings, RatingScale, parse_years
from accident_reco.models.movies.scoring.packing import encode_genres, pack_texts
from accident_reco.models.movies.training.fitting import FittedModel
from accident_reco.models.movies.training.popularity import compute_popularity


@dataclass(frozen=True)
class PopularityOptions:
    """How the ranking for unknown users is computed; see `popularity.compute_popularity` and `RatingTotals`."""

    damping: float = 60.0
    half_life_days: float = 1460.0


def build_arrays(
    model: FittedModel, catalogue: Catalogue, train: Ratings, scale: RatingScale, popularity: PopularityOptions
) -> dict[str, np.ndarray]:
    """Build a bundle's arrays: a fitted model spread over all movies of the catalogue. Movies without training ratings
    get no bias and no factors.

    Args:
        train: the rows that were fitted; of a fit that read its rows itself, its own totals take their place.

    Raises ValueError where the model has a movie that the catalogue lacks.
    """
    place = np.searchsorted(catalogue.movie_id, model.movie_ids)
    if len(catalogue) == 0 or (catalogue.movie_id[np.minimum(place, len(catalogue) - 1)] != model.movie_ids).any():
        raise ValueError("the model was trained on movies that the catalogue lacks; materialize both from one source")
    totals = model.fit.totals or RatingTotals.from_ratings(
        train, model.user_ids, catalogue.movie_id, popularity.half_life_days
    )
    rated = np.searchsorted(catalogue.movie_id, totals.movie_ids)
    count, weight, stars = (np.zeros(len(catalogue)) for _ in range(3))
    count[rated], weight[rated], stars[rated] = totals.count, totals.weight, totals.stars
    names, bits = encode_genres(catalogue.genres)
    titles, ends = pack_texts(catalogue.title)
    return {
        "kind": np.array(model.candidate.kind),
        "scale": np.array([scale.low, scale.high, scale.step]),
        "movie_id": catalogue.movie_id,
        "title_bytes": titles,
        "title_end": ends,
        "year": parse_years(catalogue.title),
        "genre_names": np.array(names, dtype="U32") if names else np.zeros(0, dtype="U1"),
        "genre_bits": bits,
        "rating_count": count.astype(np.int32),
        "popularity": compute_popularity(weight, stars, damping=popularity.damping),
        "user_id": model.user_ids,
        **model.spread(place, len(catalogue)),
        **{f"option_{name}": np.array(float(value)) for name, value in model.fit.options.items()},
    }
