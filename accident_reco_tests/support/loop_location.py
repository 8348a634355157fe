"""A code location with the loop's real sensors and no-op training jobs, for a real daemon."""

import dagster as dg

from accident_reco.defs import drift_report, retrain_sensors
from accident_reco.defs.resources import Platform
from accident_reco.registry import models

platform = Platform()


@dg.definitions
def defs() -> dg.Definitions:
    """Reports, sensors, and two no-op jobs."""

    @dg.op
    def train() -> None:
        """No training."""

    jobs = [
        dg.JobDefinition(
            name=f"train_{model}",
            graph_def=dg.GraphDefinition(name=f"train_{model}", node_defs=[train]),
            executor_def=dg.in_process_executor,
        )
        for model in ("accidents", "movies")
    ]
    settings = platform.settings
    loop = [
        *(drift_report.drift_definitions(model, settings) for model in models(settings).values()),
        retrain_sensors.definitions(list(models(settings)), settings),
    ]
    return dg.Definitions.merge(dg.Definitions(jobs=jobs, resources={"platform": platform}), *loop)
