"""Programs that measure in stages: one process each, one table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import argparse, sys
from accident_reco_tests.bench import stages

def large(arguments):
    used = b"x" * (300 << 20)
    (arguments.home / "made").write_bytes(used[:1])
    return f"{arguments.rows} rows"

def wrong(arguments):
    raise ValueError("no")

parser = argparse.ArgumentParser()
parser.add_argument("--rows", type=int)
made = lambda arguments: str((arguments.home / "made").exists())
sys.exit(stages.run(parser, {"large": large, "wrong": wrong, "after": made}))
"""


def run(*command: str) -> tuple[int, list[list[str]]]:
    """Exit code, and the cells of each row of the printed table."""
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    return done.returncode, [[cell.strip() for cell in row.strip("|").split("|")] for row in done.stdout.splitlines()]


def test_each_stage_is_measured_by_itself(tmp_path: Path) -> None:
    """The memory of one is not that of the next; one that fails is named, and those after it run."""
    code, (head, _, large, wrong, after) = run("-c", PROGRAM, str(tmp_path), "--rows", "7")
    assert code == 1
    assert head == ["stage", "seconds", "CPU seconds", "peak memory", "result"]
    assert (large[0], large[4]) == ("large", "7 rows")
    assert (wrong[0], wrong[4]) == ("wrong", "failed with exit code 1")
    assert (after[0], after[4]) == ("after", "True")
    assert float(large[3].removesuffix(" GiB")) > 0.3 > float(after[3].removesuffix(" GiB"))
    assert run("-c", PROGRAM, str(tmp_path), "--only", "after")[1][2][0] == "after"


@pytest.mark.slow
def test_a_training_of_a_large_file_is_measured(tmp_path: Path) -> None:
    """The program's own stages, on a file that is small."""
    program = "accident_reco_tests.bench.movies_scale"
    chosen = ["--only", "file", "load", "split", "baseline", "best"]
    code, (_, _, *rows) = run("-m", program, str(tmp_path), "--ratings", "8000", "--movies", "300", *chosen)
    assert code == 0, rows
    assert [row[0] for row in rows] == chosen[1:]
    assert "NDCG@10 0." in rows[3][4]
    assert "3 folds" in rows[3][4]
    assert rows[4][4].startswith("baseline of 1 candidates")
    assert (tmp_path / "card.md").read_text().startswith("# Movie recommendations")
