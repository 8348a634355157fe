"""The serving half of the accident model, as `accident_reco.contract.ModelServing` describes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from accident_reco.contract import ColumnText, ModelServing, NewData, Platform
from accident_reco.models.accidents import monitoring
from accident_reco.models.accidents.serving.feedback import LABEL

if TYPE_CHECKING:
    from fastapi import APIRouter

    from accident_reco.drift.window import Window
    from accident_reco.lifecycle.bundle import Manifest
    from accident_reco.lifecycle.reference import ReferenceProfile
    from accident_reco.models.accidents.scoring.scorer import AccidentScorer
    from accident_reco.settings import Settings
    from serving.common.middleware import RouteLimits
    from serving.predict.context import Context
    from serving.predict.v2 import InferenceAdapter


class AccidentServing(ModelServing):
    """Serves one probability per road user, from whole accidents, single records, CSV files or tensors."""

    label = LABEL
    scores_csv = True

    def __init__(self, name: str) -> None:
        self._name = name

    def load(self, files: Mapping[str, bytes], manifest: Manifest) -> AccidentScorer:
        """The scorer, after smoke predictions of one and two drivers with a location.

        The location makes the scorer build its lookup of accident counts now, not in the first request.
        """
        from accident_reco.models.accidents.scoring.scorer import AccidentScorer

        scorer = AccidentScorer.from_files(files, manifest)
        if not 0.0 <= scorer.threshold <= 1.0:
            raise ValueError(f"the threshold {scorer.threshold} is not a probability")
        for n in (1, 2):
            driver = {"catu": np.full(n, 1, dtype=np.int32), "lat": np.full(n, 46.5), "long": np.full(n, 2.5)}
            answer = scorer.probability(driver)
            if answer.shape != (n,) or not bool(((answer >= 0) & (answer <= 1)).all()):
                raise ValueError(f"the smoke prediction of {n} record(s) did not return {n} probabilities")
        return scorer

    def routers(self, context: Context) -> Sequence[APIRouter]:
        from accident_reco.models.accidents.serving import file_route, lookups, routes

        return [each.router(context, self._name) for each in (routes, file_route, lookups)]

    def route_limits(self, settings: Settings) -> Mapping[str, RouteLimits]:
        from accident_reco.models.accidents.serving.file_route import get_path
        from serving.common.middleware import RouteLimits

        limits = RouteLimits(settings.max_upload_bytes, settings.upload_seconds, settings.body_idle_seconds)
        return {get_path(self._name): limits}

    def inference(self) -> InferenceAdapter:
        from accident_reco.models.accidents.serving.tensors import AccidentAdapter

        return AccidentAdapter()

    def score_csv(self, version: AccidentScorer, source: BinaryIO) -> Iterator[bytes]:
        from accident_reco.models.accidents.scoring.files.score import score_stream
        from accident_reco.models.accidents.serving.routes import make_ids

        return score_stream(source, version, make_ids=make_ids)

    def log_row(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        return monitoring.convert_inputs(inputs)

    def log_group(self, row: Mapping[str, Any]) -> str | None:
        return monitoring.get_accident_key(row)

    def partition_window(
        self, platform: Platform, manifest: Manifest, reference: ReferenceProfile, files: Mapping[str, bytes], key: int
    ) -> Window | None:
        return monitoring.load_year_window(platform, manifest, reference, files, key)

    def partitions(self, platform: Platform) -> Sequence[int]:
        from accident_reco.models.accidents.data.raw_store import load_summaries

        return sorted(load_summaries(platform.objects))

    def columns(self) -> Mapping[str, ColumnText]:
        from accident_reco.models.accidents.serving.column_texts import COLUMN_TEXTS

        return COLUMN_TEXTS

    def importances(self, files: Mapping[str, bytes]) -> Mapping[str, float]:
        from accident_reco.models.accidents.scoring.importances import read_importances

        return read_importances(files)

    def new_data(self, platform: Platform, manifest: Manifest) -> NewData | str:
        return monitoring.find_new_years(platform, manifest)
