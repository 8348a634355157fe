"""Sequential synthesizer: column blocks are drawn in turn from real donors in the leaf of a tree on the earlier blocks.

The method of synthpop (Nowok, Raab & Dibben 2016, doi:10.18637/jss.v074.i11) with blocks in place of single columns:
related columns (class, lanes and speed limit of a road) come from one donor; a synthetic road user has about a dozen.
Severity is drawn last, from the distribution of gradient boosting, which predicts it better than one tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from accident_reco.models.accidents.features.context import DRIVER, PEDESTRIAN
from accident_reco.models.accidents.synthesis.constraints import is_valid

Columns = dict[str, NDArray[Any]]

# Blocks in the order in which they are drawn; the first is copied from one donor.
BLOCKS: Final[tuple[tuple[str, ...], ...]] = (
    ("catu", "place", "catv", "locp", "actp", "etatp", "nb_users", "nb_vehicles", "nb_pedestrians", "other_kind"),
    (
        "nb_occupants",
        "nb_cycles",
        "nb_two_wheeled",
        "nb_light",
        "nb_heavy",
        "others_vulnerable",
        "others_riding",
        "others_cycling",
        "others_in_cars",
    ),
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
)
COLUMNS: Final = (*(name for block in BLOCKS for name in block), "grav")
TEXT: Final = frozenset({"dep", "com"})
# Some hundred metres, so that coordinates do not identify a real address.
JITTER_DEGREES: Final = 0.004
MAX_TARGETS: Final = 8
MAX_FIT_ROWS: Final = 60_000
# With more real rows, ranks are taken among the rows that trees are fitted on, and severity is fitted on a sample.
MAX_RANKED_ROWS: Final = 400_000
MAX_SEVERITY_ROWS: Final = 400_000
SEVERITY_ROUNDS: Final = 120
BLOCK_ROWS: Final = 65_536
MAX_ATTEMPTS: Final = 50
# Draws with the same first donor before another one is taken.
MAX_REDRAWS: Final = 20
# With fewer rows, threads cost more time than they save.
MIN_ROWS_FOR_THREADS: Final = 20_000


@dataclass(frozen=True)
class Synthesizer:
    """Configuration of the synthesizer.

    Args:
        leaf: minimum donors per leaf: more is more private and less accurate.
        seed: random seed.
        jobs: threads of the severity model.
    """

    leaf: int = 3
    seed: int = 0
    jobs: int = 2

    @threadpool_limits.wrap(limits=1, user_api="blas")  # sums in one order, whatever the number of cores
    def synthesize(self, real: pd.DataFrame, rows: int) -> pd.DataFrame:
        """`rows` synthetic road users with the distribution of `real` (one row per road user, canonical columns).

        Accident numbers are negative and unique; `synthetic` is True. Rows that violate a constraint or copy a real
        road user are drawn again.

        Raises:
            ValueError: some rows still violate a constraint after `MAX_ATTEMPTS` draws.
        """
        generator = np.random.default_rng(self.seed)
        columns: Columns = {name: real[name].to_numpy() for name in COLUMNS if name in real}
        model = _TreeChain(columns, self.leaf, generator)
        severity = _fit_severity(columns, self.seed, self.jobs)
        # The first block is kept while the others are drawn again: rejecting whole rows would make those rarer that
        # violate constraints most easily, such as cyclists.
        eligible = np.flatnonzero(is_valid(columns))
        roots = generator.choice(eligible, rows)
        drawn = model.draw(roots, generator)
        _derive_columns(drawn)
        known = np.unique(_hash_rows(columns))
        bad = np.flatnonzero(_is_refused(drawn, known))
        for attempt in range(MAX_ATTEMPTS):
            if not len(bad):
                break
            if attempt >= MAX_REDRAWS:  # a rare first block, of which every draw is a copy of its donor
                roots[bad] = generator.choice(eligible, len(bad))
            again = model.draw(roots[bad], generator)
            _derive_columns(again)
            for name, values in again.items():
                drawn[name][bad] = values
            bad = bad[_is_refused(again, known)]
        if len(bad):
            raise ValueError(
                f"{len(bad)} of {rows} synthetic road users violate constraints after {MAX_ATTEMPTS} draws"
            )
        drawn["grav"] = _draw_severity(severity, drawn, generator)
        numbers = -np.arange(1, rows + 1, dtype=np.int64)
        return pd.DataFrame({"Num_Acc": numbers, **drawn, "synthetic": np.ones(rows, dtype=bool)}, copy=False)


def _is_refused(drawn: Columns, known: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether each row violates a constraint or has the hash of a real one (`known`, ascending), shape (n,)."""
    hashes = _hash_rows(drawn)
    return ~is_valid(drawn) | (known[np.minimum(known.searchsorted(hashes), len(known) - 1)] == hashes)


def _hash_rows(columns: Columns) -> NDArray[np.uint64]:
    """Hash of each row without severity and coordinates, shape (n,): equal for copies."""
    names = [name for name in COLUMNS if name in columns and name not in ("lat", "long", "grav")]
    found = np.empty(len(columns["catu"]), dtype=np.uint64)
    for rows in _iterate_blocks(len(found)):
        drawn = pd.DataFrame({name: columns[name][rows] for name in names}, copy=False)
        found[rows] = pd.util.hash_pandas_object(drawn, index=False).to_numpy()
    return found


def _iterate_blocks(rows: int) -> Iterator[slice]:
    """Blocks of rows, so that an intermediate matrix is never as large as all real rows."""
    return (slice(start, start + BLOCK_ROWS) for start in range(0, rows, BLOCK_ROWS))


class _TreeChain:
    """Trees of all blocks, fitted on the real rows, with the donors of each leaf."""

    def __init__(self, real: Columns, leaf: int, generator: np.random.Generator) -> None:
        from sklearn.tree import DecisionTreeRegressor

        self._real = real
        self._blocks = [tuple(name for name in block if name in real) for block in BLOCKS]
        rows = len(next(iter(real.values())))
        sample = generator.permutation(rows)[:MAX_FIT_ROWS]
        self._steps: list[tuple[Any, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
        # Ranks of all rows are those of the sample where there are enough of it.
        ranked = real if rows <= MAX_RANKED_ROWS else {name: values[sample] for name, values in real.items()}
        chosen = sample if rows <= MAX_RANKED_ROWS else slice(None)
        known = list(self._blocks[0])
        for block in self._blocks[1:]:
            tree = DecisionTreeRegressor(
                min_samples_leaf=leaf, max_features=0.6, random_state=int(generator.integers(2**31))
            )
            inputs = _build_inputs({name: real[name][sample] for name in known}, known)
            tree.fit(inputs, _build_targets(ranked, block)[chosen])
            # Every real row is a donor of its leaf, including those that the tree was not fitted on.
            leaves = _find_leaves(tree, real, known)
            order = np.argsort(leaves, kind="stable")
            size = np.bincount(leaves, minlength=tree.tree_.node_count)
            self._steps.append((tree, order, np.cumsum(size) - size, size))
            known += block

    def draw(self, roots: NDArray[np.int64], generator: np.random.Generator) -> Columns:
        """New rows with all columns but severity; `roots` are the donors of the first block, shape (n,)."""
        drawn = {name: self._real[name][roots] for name in self._blocks[0]}
        known = list(self._blocks[0])
        for (tree, order, start, size), block in zip(self._steps, self._blocks[1:], strict=True):
            leaves = _find_leaves(tree, drawn, known)
            donors = order[start[leaves] + generator.integers(0, size[leaves])]
            drawn |= {name: self._real[name][donors] for name in block}
            known += block
        for name in ("lat", "long"):
            if name in drawn:
                drawn[name] = drawn[name] + generator.normal(0, JITTER_DEGREES, len(roots))
        return drawn


def _find_leaves(tree: Any, columns: Columns, names: list[str]) -> NDArray[np.int64]:
    """Leaf of every row, shape (n,)."""
    leaves = np.empty(len(columns[names[0]]), dtype=np.int64)
    for rows in _iterate_blocks(len(leaves)):
        leaves[rows] = tree.apply(_build_inputs({name: columns[name][rows] for name in names}, names))
    return leaves


def _build_inputs(columns: Mapping[str, NDArray[Any]], names: list[str]) -> NDArray[np.float32]:
    """Columns as tree inputs, shape (n, k): missing reals as -999; text columns are represented by coordinates."""
    numbers = [np.nan_to_num(columns[name].astype(np.float32), nan=-999.0) for name in names if name not in TEXT]
    return np.stack(numbers, axis=1)


def _build_targets(columns: Columns, block: tuple[str, ...]) -> NDArray[np.float64]:
    """A block as standardised targets, shape (n, k): ranks and one-hot codes, reduced to leading principal axes."""
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
    if table.shape[1] <= MAX_TARGETS:
        return table
    values, axes = np.linalg.eigh(table.T @ table / len(table))
    return table @ axes[:, np.argsort(values)[::-1][:MAX_TARGETS]]


def _derive_columns(drawn: Columns) -> None:
    """Set columns that follow from others: a driver is the driver of their own vehicle."""
    drives, walks = drawn["catu"] == DRIVER, drawn["catu"] == PEDESTRIAN
    for ours, of_driver, of_other in (
        ("an_nais", "driver_an_nais", "other_an_nais"),
        ("sexe", "driver_sexe", "other_sexe"),
    ):
        drawn[of_driver] = np.where(drives, drawn[ours], drawn[of_driver])
        drawn[of_other] = np.where(walks & (drawn[of_driver] >= 0), drawn[of_driver], drawn[of_other])


def _fit_severity(real: Columns, seed: int, jobs: int) -> Any:
    import lightgbm

    severity = real["grav"].astype(np.int64) - 1
    rows = np.sort(np.random.default_rng(seed).permutation(len(severity))[:MAX_SEVERITY_ROWS])
    if len(severity) > len(rows):
        real, severity = {name: values[rows] for name, values in real.items()}, severity[rows]
    threads = jobs if len(severity) >= MIN_ROWS_FOR_THREADS else 1
    settings = {
        "objective": "multiclass",
        "num_class": 4,
        "learning_rate": 0.08,
        "num_leaves": 31,
        "min_child_samples": 30,
        "feature_fraction": 0.5,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 5.0,
        "seed": seed,
        "num_threads": threads,
        "verbosity": -1,
        "deterministic": True,
        "force_row_wise": True,
    }
    names = [name for name in COLUMNS if name in real and name != "grav"]
    data = lightgbm.Dataset(_build_inputs(real, names), severity, params={"verbosity": -1})
    return lightgbm.train(settings, data, num_boost_round=SEVERITY_ROUNDS)


def _draw_severity(model: Any, drawn: Columns, generator: np.random.Generator) -> NDArray[np.int16]:
    names = [name for name in COLUMNS if name in drawn and name != "grav"]
    cumulative = np.empty((len(drawn["catu"]), 4))
    for rows in _iterate_blocks(len(cumulative)):
        inputs = _build_inputs({name: drawn[name][rows] for name in names}, names)
        np.cumsum(model.predict(inputs), axis=1, out=cumulative[rows])
    severity = (generator.random(len(cumulative))[:, None] > cumulative[:, :3]).sum(axis=1) + 1
    return severity.astype(np.int16)
