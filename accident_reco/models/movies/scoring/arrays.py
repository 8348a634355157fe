"""The movie bundle's `arrays.npz`: everything that answers, as plain arrays over the catalogue. Never a pickle."""

from dataclasses import dataclass

import numpy as np

from accident_reco.models.movies.data.ratings import Catalogue, Ratings, RatingScale, years_of
from accident_reco.models.movies.scoring.packing import genre_bits, pack_texts
from accident_reco.models.movies.scoring.popularity import damped_popularity
from accident_reco.models.movies.training.fitting import FittedModel


@dataclass(frozen=True)
class PopularityOptions:
    """How the answer for strangers is made; see `popularity.damped_popularity`."""

    damping: float = 60.0
    half_life_days: float = 1460.0


def bundle_arrays(
    model: FittedModel, catalogue: Catalogue, train: Ratings, scale: RatingScale, popularity: PopularityOptions
) -> dict[str, np.ndarray]:
    """A fitted model with the catalogue, spread over all movies: those it never saw get no bias and no factors.

    Raises ValueError where the model knows a movie that the catalogue does not.
    """
    place = np.searchsorted(catalogue.movie_id, model.movie_ids)
    if len(catalogue) == 0 or (catalogue.movie_id[np.minimum(place, len(catalogue) - 1)] != model.movie_ids).any():
        raise ValueError("the model was trained on movies that the catalogue lacks; materialize both from one source")
    rated = np.searchsorted(catalogue.movie_id, train.movie_id)
    counts = np.bincount(rated, minlength=len(catalogue))
    names, bits = genre_bits(catalogue.genres)
    titles, ends = pack_texts(catalogue.title)
    spread: dict[str, np.ndarray] = {}
    for name, values in model.arrays.items():
        if name in ("movie_bias", "movie_factors"):
            spread[name] = np.zeros((len(catalogue), *values.shape[1:]), dtype=values.dtype)
            spread[name][place] = values
        elif name == "neighbour_start":
            lengths = np.zeros(len(catalogue), dtype=np.int64)
            lengths[place] = np.diff(values)
            spread[name] = np.concatenate([[0], np.cumsum(lengths)])
        elif name == "neighbour":
            spread[name] = place[values].astype(np.int32)
        else:
            spread[name] = values
    options = {f"option_{name}": np.array(float(value)) for name, value in model.options.items()}
    return {
        "kind": np.array(model.kind),
        "scale": np.array([scale.low, scale.high, scale.step]),
        "movie_id": catalogue.movie_id,
        "title_bytes": titles,
        "title_end": ends,
        "year": years_of(catalogue.title),
        "genre_names": np.array(names, dtype="U32") if names else np.zeros(0, dtype="U1"),
        "genre_bits": bits,
        "rating_count": counts.astype(np.int32),
        "popularity": damped_popularity(
            rated,
            train.rating,
            train.rated_at,
            len(catalogue),
            damping=popularity.damping,
            half_life_days=popularity.half_life_days,
        ),
        "user_id": model.user_ids,
        **spread,
        **options,
    }
