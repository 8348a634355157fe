"""What a version was trained on a part of, in its lineage and in words: ratings that a setting kept from training, and
ratings that single fits left out. Both are whole users, chosen by hash.

`lineage["sample"]` is None where everything trained. Else it has `ratings`, `of` and `setting` where a setting limits
what is read, `heads` where that trained only these heads of a version, and `fits`: kind → purpose → `ratings`, `of`
where a fit takes a part of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from accident_reco.lifecycle.training_identity import SAMPLE
from accident_reco.models.movies.candidates.candidate import FitSample

FITS: Final = "fits"
HEADS: Final = "heads"


def add_samples(lineage: Mapping[str, Any], kind: str, samples: Iterable[FitSample]) -> dict[str, Any]:
    """The lineage of a candidate with the samples of its fit."""
    found = {one.purpose: {"ratings": one.ratings, "of": one.of} for one in samples}
    return _add_fits(lineage, {kind: found} if found else {})


def limit_to_stars(lineage: Mapping[str, Any]) -> dict[str, Any]:
    """The lineage of a ranking candidate that read all ratings itself: a setting limited those of the stars alone."""
    sample = lineage.get(SAMPLE)
    return {**lineage, SAMPLE: {**sample, HEADS: ["stars"]}} if sample else dict(lineage)


def merge_samples(ranking: Mapping[str, Any], stars: Mapping[str, Any]) -> dict[str, Any]:
    """The lineage of a version: that of its ranking head, with the samples of its other head."""
    return _add_fits(ranking, (stars.get(SAMPLE) or {}).get(FITS, {}))


def _add_fits(lineage: Mapping[str, Any], fits: Mapping[str, Any]) -> dict[str, Any]:
    if not fits:
        return dict(lineage)
    sample = lineage.get(SAMPLE) or {}
    return {**lineage, SAMPLE: {**sample, FITS: {**sample.get(FITS, {}), **fits}}}


def describe_samples(lineage: Mapping[str, Any]) -> list[str]:
    """Sentences for the model card; none where everything trained."""
    sample = lineage.get(SAMPLE) or {}
    found = []
    if "setting" in sample:
        read = f"{sample['ratings']:,} of {sample['of']:,} stored ratings were read"
        found.append(f"**Sample**: {read}: whole users, chosen by hash, by the setting {sample['setting']}.")
    if HEADS in sample:
        found.append(
            "The sample trained the predicted stars, and its users are those of the evaluation. "
            "The order was trained on everything outside of the holdout."
        )
    for kind, purposes in sample.get(FITS, {}).items():
        parts = [f"{purpose} on {one['ratings']:,} of {one['of']:,}" for purpose, one in purposes.items()]
        found.append(
            f"**Sample of {kind}**: its {' and its '.join(parts)} training ratings: whole users, chosen by hash, since "
            "all of them take too long or do not fit in memory. Everything else was fitted on all."
        )
    return found
