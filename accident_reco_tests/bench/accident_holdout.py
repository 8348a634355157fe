"""The figures of the shipped accident model on the frozen holdout of a directory of real BAAC files.

`python -m accident_reco_tests.bench.accident_holdout DIRECTORY [--jobs 2]` trains the boosting candidate as the
platform does, without Dagster and forest, and prints: seconds of every step, metrics, coverage by group, errors by sex
and age,
calibration by slice, processor time of explanation and advice, and the error of advice against trying every value of
the training people. Choices are made with `accident_model`; this reads the holdout.

`--quarter 0` … `3` instead evaluates on a quarter of the accidents, chosen by hash, that the training never sees: as
where data are kept back by a third party, the frozen holdout of the other three is not trained on either.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accident_reco.lifecycle.holdout import hash_keys, in_holdout
from accident_reco.models.accidents.data.duplicates import AccidentContents, find_excluded_accidents
from accident_reco.models.accidents.data.victims import build_victims
from accident_reco.models.accidents.features.builder import build_features
from accident_reco.models.accidents.scoring.advice import find_groups, get_role, list_fields
from accident_reco.models.accidents.scoring.scorer import AccidentScorer
from accident_reco.models.accidents.synthesis.sequential import COLUMNS, Synthesizer
from accident_reco.models.accidents.training import candidate
from accident_reco.models.accidents.training.card import render_card
from accident_reco.models.accidents.training.config import TrainingConfig
from accident_reco.models.accidents.training.evaluation import Holdout, evaluate_holdout
from accident_reco.models.accidents.training.fitting import BoostingParameters
from accident_reco.models.accidents.training.training_rows import (
    Columns,
    extract_columns,
    mask_fields,
    severe_label,
    take,
)
from accident_reco_tests.bench.published import newest_year

MISSING_RATE: Final = 0.5
MAX_TRIED: Final = 1_500
QUARTERS: Final = 4
# Neither that of the frozen holdout nor that of the folds.
QUARTER_SALT: Final = 0x0A11_B0C4


def main() -> int:
    """Prints the card of the trained version, and what explanation and advice cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--records", type=int, default=30, help="records on which advice is checked")
    parser.add_argument("--quarter", type=int, choices=range(QUARTERS), help="evaluate on this quarter, held back")
    options = parser.parse_args()
    config = TrainingConfig(jobs=options.jobs)
    victims = load_victims(options.directory)
    if options.quarter is None:
        holdout = Holdout.from_victims(victims)
    else:
        held_back = find_quarter(victims, options.quarter)
        rows = extract_columns(victims[held_back])
        holdout, victims = Holdout(rows, severe_label(rows["grav"])), victims[~held_back].reset_index(drop=True)
    real = victims[~in_holdout(victims["Num_Acc"].to_numpy())]
    with measured("synthesis"):
        synthetic = Synthesizer(seed=config.seed, jobs=config.jobs).synthesize(real, len(real))
    training = candidate.build_training_frame(victims, synthetic, 0.5, config.seed)
    with measured("rows and soft labels"):
        table = candidate.build_feature_frame(training, config)
    with measured("boosting: two calibration fits and the final one"):
        trained = candidate.train(table, candidate.prepare(training, config), BoostingParameters(), config)
    scorer = AccidentScorer.from_files(trained.files)
    with measured("evaluation"):
        report = evaluate_holdout(scorer, holdout, config.seed)
    card = render_card(
        report, holdout.label.tolist(), {}, "BAAC", config.feature_set, config.miss_cost, config.coverage
    )
    _print(card.decode())
    _print(f"bundle: {sum(map(len, trained.files.values())) / 1e6:.1f} MB")
    measure_answers(scorer, candidate.extract_real_columns(training), holdout, options.records)
    return 0


def load_victims(directory: str) -> pd.DataFrame:
    """Road users of the newest year in a directory, without repeated accidents."""
    files, year = newest_year(directory)
    victims = build_victims(files, year).victims[["Num_Acc", "id_usager", *COLUMNS]]
    excluded = find_excluded_accidents(AccidentContents.from_victims(victims))
    return victims[~np.isin(victims["Num_Acc"].to_numpy(), excluded)].reset_index(drop=True)


def find_quarter(victims: pd.DataFrame, quarter: int) -> NDArray[np.bool_]:
    """Mask of the road users of one quarter of the accidents, shape (n,)."""
    hashed = hash_keys(victims["Num_Acc"].to_numpy(), QUARTER_SALT)
    mask: NDArray[np.bool_] = hashed % np.uint64(QUARTERS) == quarter
    return mask


def measure_answers(scorer: AccidentScorer, people: Columns, holdout: Holdout, records: int) -> None:
    """Print processor time of explanation and advice, and the error of advice on records with half of their fields."""
    generator = np.random.default_rng(0)
    chosen = generator.permutation(len(holdout.label))[:records]
    columns = {name: values for name, values in take(holdout.columns, chosen).items() if name in scorer.columns}
    matrix = build_features(columns, scorer.spec)
    _print_time("explanation of a full record", lambda: [scorer.explainer.contributions_by_column(x) for x in matrix])
    masked = mask_fields(columns, scorer.columns, MISSING_RATE, generator)
    _print_time("advice for a record with half of its fields", lambda: scorer.advise(masked))
    nothing = {"catu": np.full(records, -1)}
    _print_time("advice for a record with nothing", lambda: scorer.advise(nothing))
    errors = np.array([error for row in range(records) for error in _find_errors(scorer, take(masked, [row]), people)])
    _print(
        f"advice against every training value, {len(errors)} fields of {records} records: error of the expected change "
        f"{errors[:, 0].mean():.4f} on average, {np.quantile(errors[:, 0], 0.95):.4f} at the 95th percentile, "
        f"{errors[:, 0].max():.4f} at most; of the expected entropy {errors[:, 1].mean():.4f} on average"
    )


def _find_errors(scorer: AccidentScorer, record: Columns, people: Columns) -> Iterator[tuple[float, float]]:
    """Error of expected change and of expected entropy for every field of the advice, against the training people."""
    closest = next(group for group in find_groups(record)[0] if group in scorer.advice_table.groups)
    chains = np.array(find_groups(people))
    inside = take(people, (chains == closest).any(axis=1))
    together = dict(list_fields(scorer.columns, get_role(closest)))
    now = float(scorer.probability(record)[0])
    for advice in scorer.advise(record)[0]:
        if advice.column not in together:
            continue
        names = together[advice.column]
        values = pd.DataFrame({name: inside[name] for name in names})
        values = values[(values.iloc[:, 0].notna() & (values.iloc[:, 0] != -1))]
        values = values.sample(min(len(values), MAX_TRIED), random_state=0)
        tried: Columns = {name: np.repeat(column, len(values)) for name, column in record.items()}
        tried |= {name: values[name].to_numpy() for name in names}
        counted = "nb_unknown_users" in record and all(record[name][0] < 0 for name in ("sexe", "an_nais"))
        if counted and advice.column in ("sexe", "an_nais"):
            # Whoever is known no longer counts among the unknown ones.
            tried["nb_unknown_users"] = tried["nb_unknown_users"] - (tried["nb_unknown_users"] > 0)
        probability = scorer.probability(tried)
        entropy = _entropy(np.array([now]))[0] - _entropy(probability).mean()
        yield abs(advice.change - float(np.abs(probability - now).mean())), abs(advice.uncertainty_reduction - entropy)


def _entropy(p: Any) -> Any:
    p = np.clip(p, 1e-12, 1 - 1e-12)
    return -(p * np.log2(p) + (1 - p) * np.log2(1 - p))


def _print_time(what: str, run: Callable[[], list[Any]]) -> None:
    run()
    started = time.process_time()
    count = len(run())
    _print(f"{what}: {(time.process_time() - started) / count * 1e3:.2f} ms of processor time")


@contextmanager
def measured(step: str) -> Iterator[None]:
    """Prints seconds and processor seconds of a step."""
    started, used = time.perf_counter(), time.process_time()
    yield
    _print(f"{step}: {time.perf_counter() - started:.0f} s, {time.process_time() - used:.0f} s of processor time")


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
