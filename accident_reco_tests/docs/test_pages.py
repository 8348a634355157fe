"""The documentation agrees with the code: reference pages, settings, commands, paths, words, messages."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from accident_reco.settings import variable
from accident_reco_tests.docs import architecture, pictures, programs, reference
from accident_reco_tests.docs.pages import DOCUMENTS, PAGES, README, blocks
from accident_reco_tests.docs.reference import ROOT, settings_class

TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in DOCUMENTS}
ALL = "\n".join(TEXTS.values())
SOURCES = "\n".join(
    path.read_text(encoding="utf-8")
    for folder in ("accident_reco", "serving")
    for path in sorted((ROOT / folder).rglob("*.py"))
)
TROUBLESHOOTING = TEXTS["docs/pages/how-to/troubleshooting.md"]
FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.parametrize("name", reference.GENERATED)
def test_reference_agrees_with_the_code(name: str) -> None:
    """A setting, asset, job, endpoint, metric, alert, table, rule or command changed; fix: `make docs`, then read."""
    assert reference.render(name) == (reference.PAGES / f"{name}.md").read_text(encoding="utf-8")


def test_settings_named_anywhere_exist() -> None:
    """A setting that was renamed or removed is not in the text."""
    known = {variable(name) + end for name in settings_class().model_fields for end in ("", "_FILE")}
    third = {"ACCIDENT_RECO_DIABETES_SOURCE"}  # of the model that the tutorial adds
    assert set(re.findall(r"ACCIDENT_RECO_[A-Z_]+[A-Z]", ALL)) - known - third == set()


def test_every_make_target_has_help_and_the_reverse() -> None:
    """`make help`, the reference and every `make …` in text and code agree."""
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = set(re.findall(r"^  make ([a-z-]+)", listed, re.MULTILINE))
    assert targets == {name for name, _ in programs.targets()}
    assert set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", ALL, re.MULTILINE)) <= targets


def test_files_named_in_backticks_exist() -> None:
    """Paths below the project's folders."""
    paths = re.findall(r"`((?:accident_reco|serving|deploy|docs|accident_reco_tests)/[\w./-]+)`", ALL)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_commands_that_are_not_run_here_name_their_test() -> None:
    """Blocks in `bash` run on a started platform; a block in `sh` has the test above it that runs or checks it."""
    unnamed, missing = [], []
    for block in (block for path in DOCUMENTS for block in blocks(path)):
        if block.language == "sh" and block.test is None:
            unnamed.append((block.page, block.code))
        elif block.test:
            file, function = block.test
            if f"def {function}(" not in (ROOT / file).read_text(encoding="utf-8"):
                missing.append(block.test)
    assert (unnamed, missing) == ([], [])


def test_languages_of_code_blocks() -> None:
    """Commands are never hidden in a block that no test reads."""
    languages = {block.language for path in DOCUMENTS for block in blocks(path)}
    assert languages <= {"bash", "sh", "text", "toml", "yaml", "python"}
    commands = re.compile(r"^(?:make|accident-reco|curl|ask|dagster|python3?|docker|kubectl) ", re.MULTILINE)
    written = [path for path in DOCUMENTS if path.parent != reference.PAGES]  # `--help` has the examples of the others
    texts = [block for path in written for block in blocks(path) if block.language == "text"]
    assert [block.page for block in texts if commands.search(block.code)] == []


def test_pages_begin_with_their_question() -> None:
    """The first paragraph after the title asks what the page answers."""
    without = []
    for path in sorted(PAGES.rglob("*.md")):
        title, question = path.read_text(encoding="utf-8").split("\n\n")[:2]
        if not (title.startswith("# ") and "?" in question):
            without.append(path.name)
    assert without == []


def test_glossary_words_occur_in_the_code() -> None:
    """Every word that the glossary defines is one of the code's own, and is defined in one sentence or two."""
    entries = re.findall(r"^`([^`]+)`\n:   (.+)$", TEXTS["docs/pages/reference/glossary.md"], re.MULTILINE)
    assert len(entries) > 30
    words = {word: re.escape(word).replace(r"\ ", "[ _]").replace(r"\-", "[-_]?") for word, _ in entries}
    assert [word for word, pattern in words.items() if not re.search(pattern, SOURCES, re.IGNORECASE)] == []


def test_messages_of_the_troubleshooting_page_exist() -> None:
    """Each part of a message between the `…` occurs in a source file or in the Makefile."""
    headings = re.findall(r"^### (?:\d{3} )?`([^`]+)`$", TROUBLESHOOTING, re.MULTILINE)
    headings += re.findall(r"^\| `([^`]+)` \|", TROUBLESHOOTING, re.MULTILINE)
    assert len(headings) > 20
    joined = re.sub(r'"\s*\n\s*f?"', "", SOURCES) + (ROOT / "Makefile").read_text(encoding="utf-8")
    code = re.sub(r"\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}", "…", joined)
    missing = [
        part
        for heading in headings
        for part in (part.strip(" .") for part in heading.split("…"))
        if part and part not in code
    ]
    assert missing == []


def test_readme_is_short_and_its_pictures_are_small() -> None:
    """At most 150 lines; all pictures together at most 300 KB."""
    assert len(TEXTS["README.md"].splitlines()) <= 150
    shown = {README.parent / link for link in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TEXTS["README.md"])}
    assert {path.name for path in shown} >= {"architecture.svg", "asset-graph.png", "api-docs.png", "drift-report.png"}
    assert sum(path.stat().st_size for path in pictures.FOLDER.iterdir()) <= pictures.MAX_BYTES


def test_architecture_is_drawn_from_the_code() -> None:
    """The committed drawing is the one that `make pictures` makes."""
    assert architecture.draw() == (pictures.FOLDER / pictures.ARCHITECTURE).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_of_documents_beside_the_site(name: str) -> None:
    """Their links lead to files and headings that exist; MkDocs checks those of its pages."""
    dead = []
    for link in LINK.findall(FENCE.sub("", TEXTS[name])):
        target, _, anchor = link.partition("#")
        path = ROOT / target if target else ROOT / name
        if not path.exists() or (anchor and anchor not in _anchors(path)):
            dead.append(link)
    assert dead == []


def _anchors(path: Path) -> set[str]:
    """Anchors of the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_table_of_imports_agrees_with_import_linter() -> None:
    """CONTRIBUTING.md lists the layers of the contract, lowest first, and what each may not import."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = [one["layers"] for one in contracts if one["type"] == "layers"]
    rows = re.findall(
        r"^\| (`(?:accident_reco/|serving)[^|]+) \| [^|]+ \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$",
        TEXTS["CONTRIBUTING.md"],
        re.MULTILINE,
    )
    modules = [{_module(path) for path in re.findall(r"`([^`]+)`", row[0])} for row in rows]
    assert modules == [{module.strip() for module in layer.split("|")} for layer in reversed(layers)]
    for column, package in enumerate(("accident_reco.models", "dagster", "fastapi"), start=1):
        forbidden = {
            source
            for one in contracts
            if one["type"] == "forbidden" and package in one["forbidden_modules"]
            for source in one["source_modules"]
        }
        for row, layer in zip(rows, modules, strict=True):
            free = layer - forbidden
            if row[column] == "no":
                assert free == set(), f"{package}: {free}"
            elif len(layer) > 1:
                assert free == {_module(path) for path in re.findall(r"`([^`]+)`", row[column])}, package
            else:
                assert free == layer, f"{package}: {layer}"
    folders = {path.name for path in (ROOT / "accident_reco/models").glob("*/*/")}
    for package, allowed in (("dagster", "assets"), ("fastapi", "serving")):
        (sources,) = [
            one["source_modules"]
            for one in contracts
            if package in one.get("forbidden_modules", ()) and "accident_reco.models.*.data" in one["source_modules"]
        ]
        named = {source.rsplit(".", 1)[1] for source in sources if source.startswith("accident_reco.models.")}
        assert allowed in folders - named


def _module(path: str) -> str:
    """`accident_reco/contract.py` → `accident_reco.contract`."""
    return path.removesuffix(".py").rstrip("/").replace("/", ".")


def test_spark_is_installed_as_the_page_says() -> None:
    """The extra exists, and the tests' machine gets the Java of the same package."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    page = TEXTS["docs/pages/how-to/train-on-spark.md"]
    assert "accident-reco[spark]" in page
    assert [name.partition(">")[0] for name in extras["spark"]] == ["pyspark"]
    (package,) = re.findall(r"apt-get install --no-install-recommends (\S+)", page)
    assert f"missing+=({package})" in (ROOT / ".ci/run").read_text()
