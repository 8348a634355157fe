"""Reads the data, trains two candidates, evaluates the better one on the holdout, compares it with the champion."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

import dagster as dg
import numpy as np
import pandas as pd

from accident_reco.contract import Candidate, Check, Evaluated, Fitted, Frames, ModelTraining, Platform
from accident_reco.lifecycle.bundle import CARD_FILE, REFERENCE_FILE, Bundle, Manifest, canonical_json, sha256
from accident_reco.lifecycle.gate import Comparison, GatePolicy, paired_bootstrap, rmse_statistic
from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.lifecycle.reference import build_reference, reference_bytes
from accident_reco.settings import Settings
from diabetes_model.model import DiabetesSettings
from diabetes_model.serving import LinearVersion, Patient

FEATURES = list(Patient.model_fields)
ROWS_VALID = dg.AssetCheckSpec("rows_valid", asset=["diabetes", "training_rows"], blocking=True)
ASSET = {"group_name": "diabetes", "kinds": {"pandas"}, "io_manager_key": "frames"}


@dg.asset(key=ROWS_VALID.asset_key, check_specs=[ROWS_VALID], **ASSET)
def training_rows(platform: dg.ResourceParam[Platform]) -> Iterator[dg.Output[pd.DataFrame] | dg.AssetCheckResult]:
    """scikit-learn's 442 patients and those of the file, with the rows of the frozen holdout marked."""
    from sklearn.datasets import load_diabetes

    published = load_diabetes(as_frame=True, scaled=False).frame.rename(columns={"target": "progression"})
    source = platform.settings.of(DiabetesSettings).diabetes_source
    rows = pd.concat([published, pd.read_csv(source)], ignore_index=True) if source else published
    rows = rows[[*FEATURES, "progression"]].assign(holdout=in_holdout(rows.index), further=rows.index >= len(published))
    yield dg.Output(rows, metadata={"holdout": int(rows["holdout"].sum())})
    yield dg.AssetCheckResult(passed=bool(rows.notna().all(axis=None)), check_name=ROWS_VALID.name)


class DiabetesTraining(ModelTraining):
    """Linear regressions with two penalties."""

    candidates: ClassVar = {
        kind: Candidate(f"{kind}_model", f"Linear regression, {kind} penalty.", frozenset({"python", "scikitlearn"}))
        for kind in ("ridge", "lasso")
    }
    prepared = fit_inputs = evaluate_inputs = compare_inputs = ("training_rows",)
    fit_check = ("coefficients_finite", "Every coefficient is a finite number.")

    def definitions(self, settings: Settings) -> dg.Definitions:
        return dg.Definitions(assets=[training_rows])

    def data_source(self, settings: Settings) -> str:
        return "scikit-learn"

    def gate_policy(self, settings: Settings) -> GatePolicy:
        return GatePolicy("rmse", False, floor=77.0, minimum_gain=0.1)  # 77: predicting the mean

    def fit(self, kind: str, frames: Frames, platform: Platform) -> Fitted:
        from sklearn import linear_model, model_selection

        frame = frames["training_rows"]
        x, y = frame.loc[~frame["holdout"], FEATURES], frame.loc[~frame["holdout"], "progression"]
        model = linear_model.RidgeCV(np.logspace(-2, 4, 13)) if kind == "ridge" else linear_model.LassoCV()
        rmse = -model_selection.cross_val_score(model, x, y, scoring="neg_root_mean_squared_error").mean()
        weights = model.fit(x, y).coef_.tolist()
        content = canonical_json([float(model.intercept_), dict(zip(FEATURES, weights, strict=True))])
        sources = [{"name": "training_rows", "sha256": sha256(frame.to_csv().encode())}]
        lineage = {"data_source": "scikit-learn", "sources": sources, "further_rows": int(frame["further"].sum())}
        bundle = Bundle("diabetes", {"model.json": content}, {"kind": kind}, {"cross_validated_rmse": rmse}, lineage)
        return Fitted(bundle, Check(self.fit_check[0], bool(np.isfinite(weights).all()), f"coefficients: {weights}"))

    def evaluate(self, candidates: Mapping[str, Bundle], frames: Frames, platform: Platform) -> Evaluated:
        kind, best = min(candidates.items(), key=lambda item: item[1].metrics["cross_validated_rmse"])
        trained, held_out = (rows for _, rows in frames["training_rows"].groupby("holdout"))
        truth, errors = held_out["progression"].to_numpy(), errors_of(best.files, held_out)
        metrics = {"rmse": float((errors**2).mean() ** 0.5), "mae": float(abs(errors).mean()), **best.metrics}
        columns = {name: trained[name].to_numpy() for name in FEATURES}
        kinds = {name: "categorical" if name == "sex" else "numeric" for name in FEATURES}
        reference = build_reference(columns, kinds, None, truth - errors, truth, model="diabetes", label_kind="numeric")
        card = f"# Diabetes progression\n\n{kind}, {len(trained)} patients; holdout RMSE {metrics['rmse']:.1f}.\n"
        files = {**best.files, REFERENCE_FILE: reference_bytes(reference), CARD_FILE: card.encode()}
        bundle = Bundle("diabetes", files, best.signature, metrics, best.lineage)
        return Evaluated(bundle, kind, "lowest cross-validated RMSE")

    def compare(
        self, candidate: Bundle, manifest: Manifest, files: Mapping[str, bytes], frames: Frames, platform: Platform
    ) -> Comparison:
        rows = frames["training_rows"].query("holdout")
        ours, theirs = (rmse_statistic(errors_of(one, rows)) for one in (candidate.files, files))
        return Comparison(len(rows), len(rows), paired_bootstrap(rows.index, ours, theirs, higher_is_better=False))


def errors_of(files: Mapping[str, bytes], rows: pd.DataFrame) -> np.ndarray:
    """Progression minus prediction, shape (n,)."""
    return (rows["progression"] - LinearVersion(files).predict(rows)["progression"]).to_numpy()
