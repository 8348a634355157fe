"""The accident model as the platform knows it; see `accident_reco.contract`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from accident_reco.contract import Model, ModelServing, ModelTraining, Task
from accident_reco.models.accidents.settings import AccidentSettings

if TYPE_CHECKING:
    from sqlalchemy import Table

    from accident_reco.dashboards import Dashboard
    from accident_reco.models.accidents.demo import AccidentDemo

_DATA_TABLES: Final = ("accident_years", "accidents", "places", "vehicles", "victims", "quarantine", "codebook")


class AccidentModel(Model):
    """Severity of a road user's injury."""

    name = "accidents"
    title = "Severity of road accidents"
    description = "Probability that a road user involved in an accident is killed or hospitalised."
    drift_question = "Does the traffic of the accident model differ from the data that its champion was trained on?"
    task = Task("classification", "roc_auc", True, ("roc_auc", "average_precision", "ece"))
    settings = AccidentSettings
    access: ClassVar = {"reader": dict.fromkeys(_DATA_TABLES, "SELECT")}

    def tables(self) -> Sequence[Table]:
        from accident_reco.models.accidents.data.tables import TABLES

        return TABLES

    def serving(self) -> ModelServing:
        from accident_reco.models.accidents.serving.plugin import AccidentServing

        return AccidentServing()

    def training(self) -> ModelTraining:
        from accident_reco.models.accidents.assets.plugin import AccidentTraining

        return AccidentTraining()

    def dashboards(self) -> Sequence[Dashboard]:
        from accident_reco.models.accidents.dashboards import DASHBOARDS

        return DASHBOARDS

    def demo(self) -> AccidentDemo:
        from accident_reco.models.accidents.demo import AccidentDemo

        return AccidentDemo()


MODEL: Final = AccidentModel()
