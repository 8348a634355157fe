"""Names in the source: shared code names no model, and the project's words are the field's standard ones."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from accident_reco_tests.support.running import ROOT

PROJECT = re.compile(r"accident[-_]reco", re.IGNORECASE)
MODEL_WORD = re.compile(r"(?<![a-z])(accident|movie)s?(?![a-z])", re.IGNORECASE)

OWN_FOLDERS = ("accident_reco/models/", "accident_reco/storage/migrations/")
"""Where a model's name belongs: the models, and the one linear history of all tables."""

REPLACED = re.compile(
    r"""gravely|grave[ ]injur|made[-_ ]up|somebody|nobody_|strangers\b|way[ ]out|drawn[ ](page|report)|second[ ]witness
    |dealt[ ]with|give_way|lesser_roles|slow_down|slow_strangers|sign_?of_?life|deadly_?step|losses_in_a_row|acted_on
    |asks_anew|taste|wishes|teacher's|\bsift\b|\bgo_on\b|\b(told|said|asked)\b|\b(MOST|LEAST)_|SIZEABLE|\bbarred\b""",
    re.IGNORECASE | re.VERBOSE,
)
"""Words that a reader would have to learn; the standard term is used instead."""

REPLACED_NAMES = re.compile(r"^(Considered|Places|Parties|Recipe|_?say|_?told|_?again|offer|\w+_of)$")
"""Names of functions, classes and modules with a standard term."""


def _sources(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(found) > 20
    return found


def _model_words(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, text) of names, attributes, imports and strings, docstrings included, with the word of a model."""
    for node in ast.walk(tree):
        texts = [value for _, value in ast.iter_fields(node) if isinstance(value, str)]
        for text in texts:
            if MODEL_WORD.search(PROJECT.sub("", text)):
                yield getattr(node, "lineno", 0), text


def test_shared_modules_name_no_model() -> None:
    """Everything outside of a model's folder reaches models through the registry."""
    title = ROOT / "accident_reco" / "__init__.py"  # says what the project is for
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text[:60]}"
        for path in _sources("accident_reco", "serving")
        if path != title and not str(path.relative_to(ROOT)).startswith(OWN_FOLDERS)
        for line, text in _model_words(ast.parse(path.read_text()))
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import accident_reco.models.movies",
        "x.accidents",
        "f(movies=1)",
        "'POST /predict/accidents'",
        "def load_movie(): ...",
    ],
)
def test_every_mention_of_a_model_is_found(source: str) -> None:
    """An import, an attribute, a keyword, a string and a function's name."""
    assert list(_model_words(ast.parse(source)))


def test_models_do_not_name_each_other() -> None:
    """A model's folder has no word of the other one."""
    for own, other in (("accidents", r"movies?"), ("movies", r"accidents?")):
        word = re.compile(rf"(?<![a-z])({other})(?![a-z])", re.IGNORECASE)
        found = [
            str(path.relative_to(ROOT))
            for path in _sources(f"accident_reco/models/{own}")
            if word.search(PROJECT.sub("", path.read_text()))
        ]
        assert found == []


def test_words_are_the_standard_ones() -> None:
    """No line of source, dashboard, alert or documentation uses a word that has a standard term."""
    files = [path for path in _sources("accident_reco", "serving") if "migrations" not in path.parts]
    files += [path for path in (ROOT / "deploy").rglob("*") if path.suffix in (".py", ".json", ".yml", ".yaml")]
    files += [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if REPLACED.search(line)
    ]
    assert found == []


def test_names_are_the_standard_ones() -> None:
    """No function, class or module has a name that has a standard term."""
    found = []
    for path in _sources("accident_reco", "serving"):
        names = [path.stem] + [
            node.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        ]
        found += [f"{path.relative_to(ROOT)}: {name}" for name in names if REPLACED_NAMES.match(name)]
    assert found == []


def test_tests_import_no_other_test() -> None:
    """What several test modules need is in `support/`: otherwise one that changes breaks others."""
    found = [
        f"{path.relative_to(ROOT)}: {line}"
        for path in _sources("accident_reco_tests")
        for line in re.findall(r"^\s*from accident_reco_tests\S*\.test_\w+ import .*", path.read_text(), re.MULTILINE)
    ]
    assert found == []
