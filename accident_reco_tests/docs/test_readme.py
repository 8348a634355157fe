"""The README says what is: its reference part is what the code gives, and its links and commands exist."""

import re
import subprocess

from accident_reco.settings import Settings, variable
from accident_reco_tests.docs.reference import README, with_reference

TEXT = README.read_text(encoding="utf-8")


def test_reference_is_what_the_code_says() -> None:
    """A setting, asset, job, sensor, endpoint or metric that is missing or changed: `make docs`, then read it."""
    assert with_reference(TEXT) == TEXT


def test_settings_named_anywhere_exist() -> None:
    """A renamed setting leaves no ghost in the text."""
    known = {variable(name) + end for name in type(Settings.load()).model_fields for end in ("", "_FILE")}
    assert set(re.findall(r"ACCIDENT_RECO_[A-Z_]+[A-Z]", TEXT)) - known - {"ACCIDENT_RECO_HOME"} == set()


def test_every_make_target_is_documented() -> None:
    """`make help` and the README agree."""
    told = subprocess.run(["make", "help"], cwd=README.parent, capture_output=True, text=True, check=True).stdout
    targets = {f"make {target}" for target in re.findall(r"^  make ([a-z-]+)", told, re.MULTILINE)}
    assert targets - set(re.findall(r"make [a-z-]+", TEXT)) == set()


def test_files_named_in_the_readme_exist() -> None:
    """Paths in backticks that begin with a folder of ours."""
    named = re.findall(r"`((?:accident_reco|serving|deploy|accident_reco_tests)/[\w./-]+)`", TEXT)
    assert named
    assert [path for path in named if not (README.parent / path).exists()] == []
