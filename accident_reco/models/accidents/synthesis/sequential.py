"""A sequential synthesizer: block after block, each drawn from real donors in the leaf of a tree grown on the others.

The method of synthpop (Nowok, Raab & Dibben 2016, doi:10.18637/jss.v074.i11) with blocks of columns in place of single
ones: what belongs together (a road's class, lanes and limit) stays together, and a person is put together from about a
dozen strangers. Severity comes last, drawn from gradient boosting's distribution: one tree knows too little of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from accident_reco.models.accidents.features.context import DRIVER, PEDESTRIAN
from accident_reco.models.accidents.synthesis.constraints import valid

Columns = dict[str, NDArray[Any]]

# Blocks in the order in which they are drawn. The first is drawn as it is.
BLOCKS: Final[tuple[tuple[str, ...], ...]] = (
    ("catu", "place", "catv", "locp", "actp", "etatp", "nb_users", "nb_vehicles", "nb_pedestrians", "other_kind"),
    ("nb_occupants", "nb_cycles", "nb_two_wheeled", "nb_light", "nb_heavy", "others_vulnerable", "others_riding",
     "others_cycling", "others_in_cars"),
    ("agg", "catr", "vma", "circ", "nbv"),
    ("col", "int"),
    ("plan", "prof", "situ", "infra", "vosp"),
    ("senc", "manv", "choc", "motor"),
    ("obs", "obsm"),
    ("lat", "long", "dep", "com"),
    ("an", "mois", "jour", "hrmn", "lum", "atm", "surf"),
    ("sexe", "an_nais", "trajet", "nb_unknown_users"),
    ("secu1", "secu2", "secu3", "others_unprotected", "vehicle_unprotected"),
    ("driver_an_nais", "driver_sexe", "other_an_nais", "other_sexe"),
)  # fmt: skip
COLUMNS: Final = (*(name for block in BLOCKS for name in block), "grav")
TEXT: Final = frozenset({"dep", "com"})
# Some hundred metres: places are drawn from real ones, and nobody's door is given away.
JITTER_DEGREES: Final = 0.004
TARGETS: Final = 8
FIT_ROWS: Final = 60_000
TRIES: Final = 50
# Draws for the same person before another takes the place.
PATIENCE: Final = 20
# Below this many rows threads cost more than they give.
THREADS_FROM: Final = 20_000


@dataclass(frozen=True)
class Synthesizer:
    """Settings of the synthesizer; `fit` and `draw` are one call, since a fitted one is never kept.

    Args:
        leaf: fewest donors of a leaf: more is more private and less faithful.
        seed: of everything random.
        jobs: threads of the severity model.
    """

    leaf: int = 3
    seed: int = 0
    jobs: int = 2

    @threadpool_limits.wrap(limits=1, user_api="blas")  # sums in one order, whatever the number of cores
    def synthesize(self, real: pd.DataFrame, rows: int) -> pd.DataFrame:
        """`rows` synthetic road users in the likeness of `real` (one row per person, canonical columns).

        Accident numbers are negative and every person has an accident of their own; `synthetic` is True. Every row
        keeps the rules of `constraints`; what breaks one, or is a copy of a real
        person, is drawn again. Raises ValueError when some never come right.
        """
        generator = np.random.default_rng(self.seed)
        columns: Columns = {name: real[name].to_numpy() for name in COLUMNS if name in real}
        model = _Chain(columns, self.leaf, generator)
        severity = _severity_model(columns, self.seed, self.jobs)
        # Who a person is comes first and is kept while the rest is drawn again: refusing whole people would thin out
        # those whose rules are broken most easily, such as cyclists.
        sound = np.flatnonzero(valid(columns))
        roots = generator.choice(sound, rows)
        people = model.draw(roots, generator)
        _settle(people)
        known = _fingerprints(columns)
        for attempt in range(TRIES):
            bad = np.flatnonzero(~valid(people) | np.isin(_fingerprints(people), known))
            if not len(bad):
                break
            if attempt >= PATIENCE:  # a rare person whose like cannot be told from the real one: somebody else, then
                roots[bad] = generator.choice(sound, len(bad))
            again = model.draw(roots[bad], generator)
            _settle(again)
            for name, values in again.items():
                people[name][bad] = values
        else:
            raise ValueError(f"{len(bad)} of {rows} synthetic people could not be made to keep the rules")
        people["grav"] = _draw_severity(severity, people, generator)
        frame = pd.DataFrame(people)
        frame.insert(0, "Num_Acc", -np.arange(1, rows + 1, dtype=np.int64))
        frame["synthetic"] = True
        return frame


def _fingerprints(columns: Columns) -> NDArray[np.uint64]:
    """A hash of everything about each person but severity and the exact coordinates: equal for copies."""
    names = [name for name in COLUMNS if name in columns and name not in ("lat", "long", "grav")]
    people = pd.DataFrame({name: columns[name] for name in names})
    return pd.util.hash_pandas_object(people, index=False).to_numpy().astype(np.uint64)


class _Chain:
    """Trees of all blocks, grown on the real rows."""

    def __init__(self, real: Columns, leaf: int, generator: np.random.Generator) -> None:
        from sklearn.tree import DecisionTreeRegressor

        self._real = real
        self._blocks = [tuple(name for name in block if name in real) for block in BLOCKS]
        rows = len(next(iter(real.values())))
        sample = generator.permutation(rows)[:FIT_ROWS]
        self._steps: list[tuple[Any, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
        known = list(self._blocks[0])
        for block in self._blocks[1:]:
            inputs = _as_inputs(real, known)
            tree = DecisionTreeRegressor(
                min_samples_leaf=leaf, max_features=0.6, random_state=int(generator.integers(2**31))
            )
            tree.fit(inputs[sample], _as_targets(real, block, generator)[sample])
            # Every real row is a donor of its leaf, also those the tree was not grown on.
            leaves = tree.apply(inputs)
            order = np.argsort(leaves, kind="stable")
            size = np.bincount(leaves, minlength=tree.tree_.node_count)
            self._steps.append((tree, order, np.cumsum(size) - size, size))
            known += block

    def draw(self, roots: NDArray[np.int64], generator: np.random.Generator) -> Columns:
        """New rows, all columns but severity; `roots` are the real rows that lend the first block."""
        people = {name: self._real[name][roots] for name in self._blocks[0]}
        known = list(self._blocks[0])
        for (tree, order, start, size), block in zip(self._steps, self._blocks[1:], strict=True):
            leaves = tree.apply(_as_inputs(people, known))
            donors = order[start[leaves] + generator.integers(0, size[leaves])]
            people |= {name: self._real[name][donors] for name in block}
            known += block
        for name in ("lat", "long"):
            if name in people:
                people[name] = people[name] + generator.normal(0, JITTER_DEGREES, len(roots))
        return people


def _as_inputs(columns: Mapping[str, NDArray[Any]], names: list[str]) -> NDArray[np.float32]:
    """Columns as tree inputs: codes as they are, unknown reals far below; texts are left to their coordinates."""
    numbers = [np.nan_to_num(columns[name].astype(np.float32), nan=-999.0) for name in names if name not in TEXT]
    return np.stack(numbers, axis=1)


def _as_targets(columns: Columns, block: tuple[str, ...], generator: np.random.Generator) -> NDArray[np.float64]:
    """A block as a few standardized directions: codes one-hot, numbers by rank, then the leading principal axes."""
    parts: list[NDArray[np.float64]] = []
    for name in block:
        if name in TEXT:
            continue
        values = np.nan_to_num(columns[name].astype(np.float64), nan=-999.0)
        distinct, code, count = np.unique(values, return_inverse=True, return_counts=True)
        ranks = (np.cumsum(count) - count / 2)[code] / len(values)
        parts.append(ranks - ranks.mean())
        if len(distinct) <= 30:
            frequent = np.flatnonzero(count >= 0.01 * len(values))
            parts += [(code == position) - count[position] / len(values) for position in frequent]
    table = np.stack(parts, axis=1)
    table = table / np.maximum(table.std(axis=0), 0.05)
    if table.shape[1] <= TARGETS:
        return table
    values, axes = np.linalg.eigh(table.T @ table / len(table))
    return table @ axes[:, np.argsort(values)[::-1][:TARGETS]]


def _settle(people: Columns) -> None:
    """What follows from other columns is not drawn: a driver is the driver of their own vehicle."""
    drives, walks = people["catu"] == DRIVER, people["catu"] == PEDESTRIAN
    for ours, of_driver, of_other in (
        ("an_nais", "driver_an_nais", "other_an_nais"),
        ("sexe", "driver_sexe", "other_sexe"),
    ):
        people[of_driver] = np.where(drives, people[ours], people[of_driver])
        people[of_other] = np.where(walks & (people[of_driver] >= 0), people[of_driver], people[of_other])


def _severity_model(real: Columns, seed: int, jobs: int) -> Any:
    import lightgbm

    threads = jobs if len(real["grav"]) >= THREADS_FROM else 1
    settings = {
        "objective": "multiclass", "num_class": 4, "learning_rate": 0.08, "num_leaves": 31, "min_child_samples": 30,
        "feature_fraction": 0.5, "bagging_fraction": 0.8, "bagging_freq": 1, "lambda_l2": 5.0, "seed": seed,
        "num_threads": threads, "verbosity": -1, "deterministic": True, "force_row_wise": True,
    }  # fmt: skip
    names = [name for name in COLUMNS if name in real and name != "grav"]
    data = lightgbm.Dataset(_as_inputs(real, names), real["grav"].astype(np.int64) - 1, params={"verbosity": -1})
    return lightgbm.train(settings, data, num_boost_round=120)


def _draw_severity(model: Any, people: Columns, generator: np.random.Generator) -> NDArray[np.int16]:
    names = [name for name in COLUMNS if name in people and name != "grav"]
    chances = np.cumsum(model.predict(_as_inputs(people, names)), axis=1)
    drawn = (generator.random(len(chances))[:, None] > chances[:, :3]).sum(axis=1) + 1
    return drawn.astype(np.int16)
