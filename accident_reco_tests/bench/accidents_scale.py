"""Time and memory of every step of a training of the accident model on many road users, as a Markdown table.

Run: python -m accident_reco_tests.bench.accidents_scale PEOPLE DIRECTORY [--years N] [--only STEP…] [--rounds N]

PEOPLE road users in 20 generated years, a fifth of them in the holdout. The years begin with 2019, since a training
uses no older ones beside them. DIRECTORY is kept as the platform's home: a step that was left out with --only finds
there what the steps before it made. A step is the asset of the job `train_accidents` with its checks, in a process of
its own, with the frames that it reads and writes as Parquet in between. `candidates` are both, side by side, as the job
runs them. `comparison` is the gate's: of the promoted version with itself.

With --rounds a step takes little time and nearly the memory of a complete one: trees are small beside the rows.

Memory is the largest sum over the processes of a step of what each has for itself and its part of what they share
(PSS), sampled every half second. OMP_NUM_THREADS and ACCIDENT_RECO_TRAINING_JOBS limit the threads. The log of the
steps is DIRECTORY/bench.log.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from accident_reco.models.accidents.sources.sample import SampleSource
from accident_reco.models.accidents.training.fitting import BoostingParameters
from accident_reco.settings import variable

FIRST_YEAR: Final = 2019
SAMPLED_SECONDS: Final = 0.5
STEPS: Final[dict[str, tuple[str, ...]]] = {
    "ingest": ("ingest",),
    "synthetic_victims": ("synthetic_victims",),
    "training_set": ("training_set",),
    "features": ("features",),
    "candidates": ("boosting_model", "forest_model"),
    "boosting_model": ("boosting_model",),
    "forest_model": ("forest_model",),
    "candidate_model": ("candidate_model",),
    "production_model": ("production_model",),
    "comparison": ("comparison",),
}
"""Step → what its processes do."""
DEFAULT: Final = [name for name in STEPS if name not in ("boosting_model", "forest_model")]


class FutureYears(SampleSource):
    """Sample years after the present one too: there are not 20 comparable years yet."""

    def fetch(self, year: int, table: str) -> Any:
        """One file of a year."""
        from accident_reco.models.accidents.sample import sample_year
        from accident_reco.models.accidents.sources.base import Fetched
        from accident_reco.storage.download import spool

        if year not in self._generated:
            self._generated = {year: sample_year(year, self.people, self.seed)}
        file = self._generated[year][table]
        return Fetched(file.name, f"sample://{file.name}", *spool([file.data]))

    _generated: dict[int, Any] = {}  # noqa: RUF012


def ingest(home: Path, people: int, years: int) -> dict[str, Any]:
    """Store and merge the years."""
    from accident_reco.models.accidents.codebook import TABLES
    from accident_reco.models.accidents.data.ingest import IngestedYear, ingest_years
    from accident_reco.settings import Settings
    from accident_reco.storage.objects import open_store
    from accident_reco.storage.warehouse import Warehouse

    settings = Settings.load(home=home)
    Warehouse(settings.database).upgrade()
    source = FutureYears(list(range(FIRST_YEAR, FIRST_YEAR + years)), people // years, settings.seed)
    count = 0
    for year in ingest_years(open_store(settings.store), source, source.years(), TABLES, merge=True):
        assert isinstance(year, IngestedYear), year
        count += (year.summary or {}).get("victims", 0)
    return {"road_users": count}


def materialize(home: Path, asset: str) -> dict[str, Any]:
    """One asset of the job with its checks, and what it states."""
    import dagster as dg

    from accident_reco.definitions import build_defs
    from accident_reco.defs.resources import Platform
    from accident_reco.models.accidents.model import MODEL

    job = build_defs([MODEL], Platform(home=str(home))).get_job_def("train_accidents")
    key = dg.AssetKey(["accidents", asset])
    done = job.execute_in_process(asset_selection=[key], instance=dg.DagsterInstance.ephemeral(), raise_on_error=True)
    (event,) = done.asset_materializations_for_node(f"accidents__{asset}")
    shown = {"dagster/row_count", "version", "bytes", "roc_auc", "validation_roc_auc", "promoted", "reason", "sample"}
    found: dict[str, Any] = {name: value.value for name, value in event.metadata.items() if name in shown}
    failed = [check for check in done.get_asset_check_evaluations() if not check.passed]
    return found | {f"check {check.check_name}": check.description for check in failed}


def compare(home: Path) -> dict[str, Any]:
    """The comparison of the promoted version with itself."""
    from accident_reco.defs.resources import Platform
    from accident_reco.lifecycle.bundle import Bundle
    from accident_reco.models.accidents.assets.plugin import AccidentTraining
    from accident_reco.models.accidents.model import MODEL

    platform = Platform(home=str(home))
    champion = platform.models.champion("accidents")
    assert champion is not None, "no version was promoted"
    manifest = champion[1]
    files = platform.models.files(manifest)
    bundle = Bundle("accidents", files, manifest.signature, manifest.metrics, manifest.lineage)
    found = AccidentTraining(MODEL).compare(bundle, manifest, files, {}, platform)
    return {"rows": found.rows, "accidents": found.groups, "gain": found.gain.value, "slices": len(found.slices)}


def shorten(rounds: int) -> None:
    """Let the models of severity and of the soft labels have so many rounds, as settings do for the candidates."""
    from accident_reco.models.accidents.synthesis import sequential
    from accident_reco.models.accidents.training import soft_labels

    sequential.SEVERITY_ROUNDS = rounds  # type: ignore[misc]
    soft_labels.select_soft_label_parameters = lambda rows: BoostingParameters(rounds=rounds, leaves=63, members=1)


def run(home: Path, what: str, people: int, years: int, rounds: int) -> dict[str, Any]:
    """The work of one process."""
    if rounds:
        shorten(rounds)
    if what == "ingest":
        return ingest(home, people, years)
    return compare(home) if what == "comparison" else materialize(home, what)


def measure(step: str, arguments: list[str], environment: dict[str, str]) -> tuple[float, float, int, list[str]]:
    """Wall seconds, processor seconds, peak memory in bytes, and what the processes of a step printed last."""
    command = [sys.executable, "-m", "accident_reco_tests.bench.accidents_scale", *arguments]
    started, before = time.perf_counter(), _count_processor_seconds()
    log, peak = Path(arguments[1]) / "bench.log", 0
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as stream:
        processes = [
            subprocess.Popen(
                [*command, "--process", what], env=environment, stdout=subprocess.PIPE, stderr=stream, text=True
            )
            for what in STEPS[step]
        ]
    while any(process.poll() is None for process in processes):
        peak = max(peak, sum(map(read_pss, list_descendants(process.pid for process in processes))))
        time.sleep(SAMPLED_SECONDS)
    outputs = [process.communicate()[0].splitlines()[-1:] for process in processes]
    for process in processes:
        if process.returncode:
            raise SystemExit(f"{step} ended with {process.returncode}; see {log}")
    seconds = time.perf_counter() - started
    return seconds, _count_processor_seconds() - before, peak, [line for lines in outputs for line in lines]


def _count_processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def list_descendants(pids: Iterable[int]) -> list[int]:
    """These processes and their descendants."""
    found = list(pids)
    for pid in found:
        try:
            found += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except OSError:
            continue
    return found


def read_pss(pid: int) -> int:
    """Proportional set size of a process in bytes; 0 where it has ended."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def main() -> None:
    """Prints one line of the table per step, and what the step states to the standard error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", type=int, help="road users, about")
    parser.add_argument("directory", type=Path, help="home of the platform that is measured")
    parser.add_argument("--years", type=int, default=20)
    parser.add_argument("--only", nargs="+", choices=STEPS, default=DEFAULT, metavar="STEP", help=", ".join(STEPS))
    parser.add_argument(
        "--rounds",
        type=int,
        default=0,
        help="rounds of every boosting, and trees of the forest: for memory alone",
    )
    parser.add_argument("--process", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.process:
        print(
            json.dumps(run(chosen.directory, chosen.process, chosen.people, chosen.years, chosen.rounds), default=str),
            flush=True,
        )
        return
    home = chosen.directory.resolve()
    own = {"home": str(home), "accidents_source": "sample", "models": "accidents"}
    environment = os.environ | {variable(name): value for name, value in own.items()}
    environment |= {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}  # nothing is there: runs are spooled
    if chosen.rounds:
        limited = ("accidents_boosting_rounds", "accidents_forest_trees")
        environment |= {variable(name): str(chosen.rounds) for name in limited}
    arguments = [str(chosen.people), str(home), "--years", str(chosen.years), "--rounds", str(chosen.rounds)]
    print("| step | seconds | processor | peak memory |\n|---|---|---|---|", flush=True)
    for step in chosen.only:
        seconds, processor, peak, outputs = measure(step, arguments, environment)
        print(f"| {step} | {seconds:,.0f} | {processor:,.0f} s | {peak / 2**20:,.0f} MiB |", flush=True)
        sys.stderr.write("".join(f"{step}: {line}\n" for line in outputs))


if __name__ == "__main__":
    main()
