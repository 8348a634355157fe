"""The loop of one model as a Dagster component, and the skeleton of a new model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel, Field

from accident_reco.contract import Model
from accident_reco.defs import dataset, rollout
from accident_reco.defs.drift_report import drift_definitions
from accident_reco.defs.resources import Platform
from accident_reco.defs.training_loop import training_definitions
from accident_reco.registry import get_model
from accident_reco.settings import Settings

SKELETON = Path(__file__).with_name("skeleton")
"""Files of a new model; `NAME` stands for its name."""


def build_loop(model: Model, settings: Settings) -> dg.Definitions:
    """Everything of one model: data, training, gate, promotion, drift report."""
    owners = settings.list_owners(model.name)
    loop = dg.Definitions.merge(
        model.training().definitions(settings),  # ingestion, features, batch scoring: the model's own
        training_definitions(model),  # candidates → candidate → gate → production model
        rollout.definitions(model, settings),  # a version that passed the gate proves itself on live traffic
        drift_definitions(model, settings),  # the comparison of incoming data with the reference
        dataset.definitions(model, settings),  # versions of training inputs, if enabled
    )

    def own(spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.replace_attributes(owners=owners)

    assets = loop.assets or ()
    return dg.Definitions(
        assets=[one.map_asset_specs(own) if isinstance(one, dg.AssetsDefinition) else one for one in assets],
        asset_checks=loop.asset_checks,
        jobs=loop.jobs,
        schedules=loop.schedules,
        sensors=loop.sensors,
        resources=loop.resources,
    )


class NewModel(BaseModel):
    """Parameters of `dg scaffold defs accident_reco.ModelLoop`."""

    model: str | None = Field(None, description="Installed model to make an instance of; by default a new model")
    name: str | None = Field(None, description="Name of the model; by default that of the folder")


class ModelLoopScaffolder(dg.Scaffolder[NewModel]):
    """Writes `defs.yaml`, and for a new model the code beside it."""

    @classmethod
    def get_scaffold_params(cls) -> type[NewModel]:
        """Options of the command."""
        return NewModel

    def scaffold(self, request: dg.ScaffoldRequest[NewModel]) -> None:
        """Write the files."""
        name = request.params.name or request.target_path.name
        attributes = {"model": request.params.model, "name": request.params.name}
        if request.params.model is None:
            package = _package_name(request)
            attributes["model"] = f"{package}.model:MODEL"
            for template in sorted(SKELETON.glob("*.txt")):
                text = template.read_text(encoding="utf-8").replace("NAME", name)
                (request.target_path / f"{template.stem}.py").write_text(text, encoding="utf-8")
        dg.scaffold_component(request, {key: value for key, value in attributes.items() if value})


def _package_name(request: dg.ScaffoldRequest[Any]) -> str:
    """Import path of the target folder."""
    parts = request.target_path.relative_to(request.project_root or Path.cwd()).parts
    return ".".join(parts[1:] if parts[0] == "src" else parts)


class LoopAttributes(dg.Model):
    """Attributes of the component."""

    model: str = Field(description="Name of an installed model, or `module:attribute` of one")
    name: str | None = Field(None, description="Name of this model; by default that of the folder of `defs.yaml`")
    settings: dict[str, Any] = Field({}, description="The model's settings by field name, for this instance")


@dg.scaffold_with(ModelLoopScaffolder)
class ModelLoop(dg.Component):
    """The loop of a model: its data, training, gate, promotion, drift report, retraining and rollback.

    The services find the same declaration, so that they serve the model too.

    Args:
        name: name of the model; the registry knows the rest of its declaration.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def get_model_cls(cls) -> type[LoopAttributes]:
        """Schema of the attributes."""
        return LoopAttributes

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> ModelLoop:
        """The component of a file."""
        if not isinstance(attributes, LoopAttributes):
            raise ValueError("accident_reco.ModelLoop needs the attribute `model`")
        return cls(attributes.name or context.path.name)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Its definitions; empty where `ACCIDENT_RECO_MODELS` does not select it."""
        settings = Platform().settings
        if self.name not in settings.model_names:
            return dg.Definitions()
        return build_loop(get_model(settings, self.name), settings)
