"""Configuration of a training: rows, weights, calibration. Parameters of the candidates are in `parameters`."""

from __future__ import annotations

from dataclasses import dataclass

from accident_reco.models.accidents.settings import AccidentSettings
from accident_reco.models.accidents.training.bounds import ENOUGH_CALIBRATION_ROWS
from accident_reco.models.accidents.training.training_rows import FOLDS


@dataclass(frozen=True)
class TrainingConfig:
    """How training rows are built and weighted, and how a candidate is calibrated.

    Args:
        feature_set: `call` or `full`.
        synthetic_weight: weight of a synthetic row relative to a real one.
        masked_weight: weight of a row with simulated missing values relative to the same row without.
        min_row_weight: rows of a lower weight are subsampled and get this weight: the same total weight in less time.
        max_missing_fraction: each real row is repeated with up to this fraction of its fields missing; 0: never.
        soft_label_weight: weight of the soft label of a real row against its recorded label; 0: recorded labels only.
        calibration_folds: folds of the training accidents, of four, that calibrate and choose: each is scored by a fit
            on the other three. See `count_calibration_folds`.
        miss_cost: cost of a missed severe injury in false alarms.
        coverage: coverage of the conformal bounds, per class.
        refit: whether the final trees are fitted on all rows, after calibration; otherwise they are those of one fold.
        seed, jobs: random seed and number of threads.
    """

    feature_set: str = "call"
    synthetic_weight: float = 0.05
    masked_weight: float = 0.4
    min_row_weight: float = 0.5
    max_missing_fraction: float = 0.8
    soft_label_weight: float = 0.5
    calibration_folds: int = 2
    miss_cost: float = 4.0
    coverage: float = 0.9
    refit: bool = True
    seed: int = 20
    jobs: int = 2

    def count_calibration_folds(self, people: int) -> int:
        """Folds that calibrate a training on so many real road users: one where it alone has enough of them."""
        return 1 if people >= FOLDS * ENOUGH_CALIBRATION_ROWS else self.calibration_folds

    @classmethod
    def from_settings(cls, settings: AccidentSettings) -> TrainingConfig:
        """The configuration that the settings state."""
        return cls(
            feature_set=settings.accidents_feature_set,
            synthetic_weight=settings.accidents_synthetic_weight,
            masked_weight=settings.accidents_masked_weight,
            max_missing_fraction=settings.accidents_mask_most,
            soft_label_weight=settings.accidents_teacher_share,
            miss_cost=settings.accidents_miss_cost,
            coverage=settings.accidents_coverage,
            seed=settings.seed,
            jobs=settings.training_jobs,
        )
