"""Declarative automation: assets that follow others, and the sensors that evaluate their conditions.

Whether a model is trained again is no condition but a decision with evidence and limits, in `lifecycle.retrain_policy`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import dagster as dg

from accident_reco.defs.tags import REASON_TAG

Condition = dg.AutomationCondition[Any]
DATA_VERSION_TAG: Final = "dagster/data_version"
"""Dagster's tag of a materialization's content, for those that are logged as events."""


def _follow(changed: Condition) -> Condition:
    """Request once after a change, when neither the asset nor what it depends on is in progress.

    A change is kept until a request that came after it. Dagster's `since_last_handled` loses one that happens between a
    request and the next evaluation.
    """
    requested = dg.AutomationCondition.newly_requested()
    return (
        changed.since(requested & ~changed)
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~dg.AutomationCondition.in_progress()
    )


FOLLOW_UPDATES: Final[Condition] = _follow(dg.AutomationCondition.any_deps_updated())
"""After each materialization of a dependency, whatever its content."""

FOLLOW_CONTENT: Final[Condition] = (
    _follow(dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed()))
    & ~dg.AutomationCondition.any_deps_missing()
)
"""After each change of a dependency's data version, such as another champion; of partitions that all of them have."""


def build_automation_sensor(
    name: str, assets: Sequence[dg.AssetKey], seconds: int, description: str
) -> dg.AutomationConditionSensorDefinition:
    """The sensor that evaluates the conditions of these assets every `seconds`."""
    return dg.AutomationConditionSensorDefinition(
        name,
        target=dg.AssetSelection.assets(*assets),
        minimum_interval_seconds=seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        run_tags={REASON_TAG: description},
        description=description,
    )
