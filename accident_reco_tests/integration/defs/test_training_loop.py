"""What the platform's training assets hold every model to."""

import pytest

from accident_reco.contract import Task
from accident_reco.defs.training_loop import gate_policy
from accident_reco.models.movies.model import MODEL, MovieModel
from accident_reco.registry import ContractError
from accident_reco.settings import Settings


@pytest.mark.parametrize("task", [Task("ranking", "rmse", False, ("rmse",)), Task("ranking", "ndcg_at_10", False, ())])
def test_gate_and_task_decide_by_the_same_metric(tmp_path, task) -> None:
    """A policy with another metric or direction than the task would promote by one and report the other."""
    settings = Settings.load(home=tmp_path, models="movies")
    assert gate_policy(MODEL, settings).metric == MODEL.task.metric
    other = type("Other", (MovieModel,), {"task": task})()
    with pytest.raises(ContractError, match="the gate policy of movies decides by"):
        gate_policy(other, settings)
