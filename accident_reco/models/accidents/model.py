"""The accident model as the platform knows it; see `accident_reco.contract`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from accident_reco.contract import Model, ModelServing, ModelTraining, Task
from accident_reco.models.accidents.settings import AccidentData, AccidentSettings, FeatureSet

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Table

    from accident_reco.contract import Check, FileReport
    from accident_reco.dashboards import Dashboard
    from accident_reco.models.accidents.demo import AccidentDemo
    from accident_reco.settings import Settings
    from serving.console.sections import ModelPages

BASE: Final = "accidents"
"""Name of the instance that has the data: its assets, tables, sensors and dashboards."""
_DATA_TABLES: Final = ("accident_years", "accidents", "places", "vehicles", "victims", "quarantine", "codebook")
_VIEWS: Final = (
    *(f"accident_outcomes_by_{part}" for part in ("month", "department", "hour", "light", "vehicle", "user", "road")),
    "accident_map",
    "quarantine_by_rule",
)


class AccidentModel(Model):
    """Severity of a road user's injury.

    A second instance with another name is a model of its own, on the data of the base instance: it has its own
    features, versions, endpoints and monitoring.

    Args:
        name: name of the instance; the base instance is `accidents`.
        feature_set: its feature set; None: that of the setting `accidents_feature_set`.
        overrides: further settings of its training.
    """

    title = "Severity of road accidents"
    description = "Probability that a road user involved in an accident is killed or hospitalised."
    drift_question = "Does the traffic of the accident model differ from the data that its champion was trained on?"
    task = Task("classification", "roc_auc", True, ("roc_auc", "average_precision", "ece"))
    settings = AccidentSettings
    access: ClassVar = {"reader": dict.fromkeys((*_DATA_TABLES, *_VIEWS), "SELECT")}

    def __init__(
        self, name: str = BASE, feature_set: FeatureSet | None = None, overrides: Mapping[str, Any] | None = None
    ) -> None:
        self.name = name
        self.overrides = {**({"accidents_feature_set": feature_set} if feature_set else {}), **(overrides or {})}
        self.is_base = name == BASE
        if not self.is_base:
            self.requires = (BASE,)
            self.title = f"{self.title} ({name})"
            self.drift_question = f"Does the traffic of {name} differ from the data that its champion was trained on?"

    def instance(self, name: str, overrides: Mapping[str, Any]) -> Model:
        shared = overrides.keys() & AccidentData.model_fields.keys()
        if shared:
            raise ValueError(f"{', '.join(sorted(shared))}: a setting of the data, which all instances share")
        return AccidentModel(name, overrides=overrides)

    def tables(self) -> Sequence[Table]:
        from accident_reco.models.accidents.data.tables import TABLES

        return TABLES if self.is_base else ()

    def serving(self) -> ModelServing:
        from accident_reco.models.accidents.serving.plugin import AccidentServing

        return AccidentServing(self.name)

    def training(self) -> ModelTraining:
        from accident_reco.models.accidents.assets import plugin

        return plugin.AccidentTraining(self)

    def dashboards(self) -> Sequence[Dashboard]:
        from accident_reco.models.accidents.dashboards import DASHBOARDS

        return DASHBOARDS if self.is_base else ()

    def console(self) -> ModelPages:
        from accident_reco.models.accidents.serving.console.plugin import build_pages

        return build_pages(self.name, self.title)

    def inspect_files(self, folder: Path) -> Sequence[FileReport]:
        from accident_reco.models.accidents.inspection import inspect_folder

        return inspect_folder(folder) if self.is_base else ()

    def check_official(self, settings: Settings) -> Iterator[Check]:
        from accident_reco.models.accidents.sources.official import OfficialSource
        from accident_reco.models.accidents.sources.official_check import check_official

        return check_official(OfficialSource()) if self.is_base else iter(())

    def demo(self) -> AccidentDemo | None:
        from accident_reco.models.accidents.demo import AccidentDemo

        return AccidentDemo() if self.is_base else None


MODEL: Final = AccidentModel()
