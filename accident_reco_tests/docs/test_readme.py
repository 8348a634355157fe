"""The README agrees with the code: its reference part, its settings, its commands and its paths."""

import re
import subprocess

from accident_reco.settings import variable
from accident_reco_tests.docs.reference import README, settings_class, with_reference

TEXT = README.read_text(encoding="utf-8")


def test_reference_agrees_with_the_code() -> None:
    """A setting, asset, job, sensor, endpoint or metric was added or changed; fix: `make docs`, then read it."""
    assert with_reference(TEXT) == TEXT


def test_settings_named_anywhere_exist() -> None:
    """A setting that was renamed or removed is not in the text."""
    known = {variable(name) + end for name in settings_class().model_fields for end in ("", "_FILE")}
    assert set(re.findall(r"ACCIDENT_RECO_[A-Z_]+[A-Z]", TEXT)) - known - {"ACCIDENT_RECO_HOME"} == set()


def test_every_make_target_is_documented() -> None:
    """`make help` and the README agree."""
    listed = subprocess.run(["make", "help"], cwd=README.parent, capture_output=True, text=True, check=True).stdout
    targets = {f"make {target}" for target in re.findall(r"^  make ([a-z-]+)", listed, re.MULTILINE)}
    assert targets - set(re.findall(r"make [a-z-]+", TEXT)) == set()


def test_files_named_in_the_readme_exist() -> None:
    """Paths in backticks below the project's folders."""
    paths = re.findall(r"`((?:accident_reco|serving|deploy|accident_reco_tests)/[\w./-]+)`", TEXT)
    assert paths
    assert [path for path in paths if not (README.parent / path).exists()] == []
