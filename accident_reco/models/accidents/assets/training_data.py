"""Assets before the candidates of a training: synthetic road users, training set, model matrix, parameters.

The first two are shared by all instances of the model; the other two depend on the feature set, and each instance has
its own.
"""

from typing import Any

import dagster as dg
import pandas as pd

from accident_reco.defs.mlflow_tracking import track_search
from accident_reco.defs.pools import training_pool
from accident_reco.defs.resources import Platform
from accident_reco.defs.training_loop import training_group
from accident_reco.lifecycle.bundle import canonical_json
from accident_reco.models.accidents.assets.ingest import VICTIMS
from accident_reco.models.accidents.assets.lineage import describe_copied, describe_features
from accident_reco.models.accidents.data.severity import is_severe
from accident_reco.models.accidents.model import BASE, AccidentModel
from accident_reco.models.accidents.settings import AccidentSettings
from accident_reco.models.accidents.synthesis.sequential import Synthesizer
from accident_reco.models.accidents.training import candidate, parameters
from accident_reco.models.accidents.training.config import TrainingConfig
from accident_reco.models.accidents.training.plots import embed_markdown, format_trials, plot_trials
from accident_reco.models.accidents.training.tracked_search import describe_search
from accident_reco.models.accidents.training.training_population import (
    VICTIMS_VERSION,
    find_years,
    load_population,
)

COMMON: dict[str, Any] = {
    "key_prefix": BASE,
    "group_name": training_group(BASE),
    "code_version": "1",
    "pool": training_pool(BASE),
}


@dg.asset(
    **COMMON,
    deps=[VICTIMS],
    kinds={"scikitlearn", "lightgbm", "parquet"},
    io_manager_key="frames",
    description="Synthetic road users like the real training rows, one for each; the holdout is left out.",
)
def synthetic_victims(context: dg.AssetExecutionContext, platform: Platform) -> pd.DataFrame:
    """Synthesise from the real road users outside of the holdout."""
    settings = platform.settings.of(AccidentSettings)
    population = load_population(platform.objects, settings, "training")
    real = population.victims
    share = settings.accidents_synthetic_share
    rows = round(len(real) * share / (1 - share))
    synthetic = Synthesizer(seed=settings.seed, jobs=settings.training_jobs).synthesize(real, rows)
    context.add_output_metadata(
        {
            "data_source": population.data_source,
            "from_real_people": len(real),
            **describe_copied(synthetic, VICTIMS),
        }
    )
    return synthetic


@dg.asset(
    **COMMON,
    deps=[VICTIMS],
    kinds={"pandas", "parquet"},
    io_manager_key="frames",
    description="Real road users outside of the holdout and synthetic ones, one for one by default.",
)
def training_set(
    context: dg.AssetExecutionContext, platform: Platform, synthetic_victims: pd.DataFrame
) -> pd.DataFrame:
    """Mix real and synthetic road users."""
    settings = platform.settings.of(AccidentSettings)
    population = load_population(platform.objects, settings, "training")
    rows = candidate.build_training_frame(
        population.victims, synthetic_victims, settings.accidents_synthetic_share, settings.seed
    )
    rows.attrs[VICTIMS_VERSION] = population.version
    severe = pd.Series(is_severe(rows["grav"])).groupby(rows["synthetic"]).mean()
    context.add_output_metadata(
        {
            "data_source": population.data_source,
            "years": str(population.years),
            "synthetic_share": float(rows.synthetic.mean()),
            "sample": dg.MetadataValue.json(population.sample or {}),
            "severe_real": float(severe.get(False, 0)),
            "severe_synthetic": float(severe.get(True, 0)),
            **describe_copied(rows, VICTIMS, dg.AssetKey([BASE, "synthetic_victims"])),
        }
    )
    return rows


def build_feature_assets(model: AccidentModel) -> list[dg.AssetsDefinition]:
    """The instance's model matrix and tuned parameters."""
    common: dict[str, Any] = {
        "key_prefix": model.name,
        "group_name": training_group(model.name),
        "code_version": "1",
        "pool": training_pool(model.name),
    }

    source = training_set.key  # a parameter below has the asset's name

    @dg.asset(
        **common,
        ins={"training_set": dg.AssetIn(key=source)},
        kinds={"numpy", "parquet"},
        io_manager_key="frames",
        description="Model matrix: real rows, rows with simulated missing values, synthetic rows; "
        "with label and weight.",
    )
    def features(context: dg.AssetExecutionContext, platform: Platform, training_set: pd.DataFrame) -> pd.DataFrame:
        """Build the matrix with the feature builder of the service."""
        settings = model.own_settings(platform.settings).of(AccidentSettings)
        table = candidate.build_feature_frame(training_set, TrainingConfig.from_settings(settings))
        origins = {str(origin): int(rows) for origin, rows in table["_origin"].value_counts().items()}
        context.add_output_metadata(
            {
                "features": len([name for name in table if not str(name).startswith("_")]),
                "rows_by_origin": dg.MetadataValue.json(origins),
                **describe_features(training_set, table, source),
            }
        )
        return table

    @dg.asset(
        **common,
        kinds={"scikitlearn", "lightgbm", "json"},
        description="Parameters of both candidates from a search within a time budget, on folds of training rows.",
    )
    def tuned_parameters(
        context: dg.AssetExecutionContext, platform: Platform, features: pd.DataFrame
    ) -> dg.MaterializeResult:
        """Search the parameters of both candidates and store them for the trainings that follow."""
        settings = model.own_settings(platform.settings).of(AccidentSettings)
        data_source = find_years(platform.objects, settings).data_source
        document = parameters.tune_candidates(features, data_source, settings)
        platform.objects.write(parameters.get_tuned_key(model.name), canonical_json(document))
        job, run_id = context.run.job_name, context.run.run_id
        track_search(context, platform, describe_search(model.name, document, job, run_id))
        shown: dict[str, Any] = {"data_source": data_source, "road_users": document["people"]}
        for name in parameters.KINDS:
            found = document[name]
            shown |= {
                f"chosen_{name}": dg.MetadataValue.json(found["chosen"]),
                f"gain_{name}": float(found["gain"]),
                f"seconds_{name}": float(found["seconds"]),
                f"table_{name}": dg.MetadataValue.md(format_trials(found)),
                f"trials_{name}": dg.MetadataValue.md(embed_markdown(plot_trials(found, name), name)),
            }
        return dg.MaterializeResult(metadata=shown)

    return [features, tuned_parameters]


def build_tune_job(model: str) -> Any:
    """The job `tune_<model>`."""
    return dg.define_asset_job(
        f"tune_{model}",
        selection=dg.AssetSelection.assets(dg.AssetKey([model, "tuned_parameters"])),
        description="Search for better parameters on the latest features; the next training uses them.",
    )
