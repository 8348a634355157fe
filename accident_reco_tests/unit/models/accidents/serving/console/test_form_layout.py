"""The form's fields and words: of the codebook, complete in both languages, in the templates too."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from accident_reco.models.accidents.features.builder import FeatureSpec
from accident_reco.models.accidents.serving.console.form_layout import FIELDS, PLACE, Words, choose_language
from accident_reco.models.accidents.serving.console.texts import read_texts
from accident_reco.models.accidents.serving.form_document import build_codebook

CONSOLE = files("accident_reco.models.accidents.serving.console")


def test_the_form_has_every_field_that_a_version_reads() -> None:
    """All inputs of both feature sets, but the context, which the service computes; and only fields of the codebook."""
    parts = {field.name: field.part for field in build_codebook().fields}
    shown = {name: part for part, names in FIELDS.items() for name in names}
    assert all(parts[name] == part for name, part in shown.items())
    for feature_set in ("call", "full"):
        inputs = {name for name in FeatureSpec(feature_set).columns if parts.get(name) != "context"}
        assert inputs <= set(shown), feature_set


def test_fields_that_the_version_does_not_read_are_not_shown() -> None:
    """A version for calls knows no obstacle; without the version's inputs everything is shown."""
    names = FIELDS["vehicle"]
    assert [c.name for c in Words("en", FeatureSpec("call").columns).controls(names)] == ["catv", "motor", "senc"]
    assert [c.name for c in Words("en").controls(names)] == list(names)


def test_outdated_codes_are_not_offered_but_named() -> None:
    """Categories that are not used since 2006."""
    words = Words("en")
    assert "9" not in [code for code, _ in words.control("catv").options]
    assert words.value("catv", "9") == "Car with trailer (until 2006)"
    assert "33" in [code for code, _ in words.control("catv").options]


def test_words_in_both_languages() -> None:
    """Fields, values, departments, units, context columns; markup is only text."""
    french, english = Words("fr"), Words("en")
    assert (french.control("lum").label, english.control("lum").label) == ("Lumière", "Light")
    assert french.value("dep", "59") == "59 Nord"
    assert (french.value("vma", 80), french.control("lat").unit) == ("80 km/h", "degrés")
    assert french.name("nb_users") == "Usagers dans l'accident"
    assert french.value("other_kind", 7) == "voiture"
    assert english.name("not_known", "Its name") == "Its name"
    assert english.value("not_known", 3, "three") == "three"
    assert french.rule("an_nais", "") == "1885 à 2099"
    assert french.rule("lum", "as the service says") == "as the service says"


@pytest.mark.parametrize(
    ("asked", "accepted", "language"),
    [
        ("fr", "en", "fr"),
        ("", "fr-FR,fr;q=0.9,en;q=0.8", "fr"),
        ("", "de,en;q=0.5,fr", "en"),
        ("", "", "en"),
        ("xx", "de", "en"),
    ],
)
def test_the_language_of_a_page(asked: str, accepted: str, language: str) -> None:
    """What was asked for, else the browser's first known one."""
    assert choose_language(asked, accepted) == language


def test_templates_use_known_words_and_all_of_them() -> None:
    """A misspelt key would fail when a page is shown; an unused one is dead."""
    sources = [path.read_text() for path in CONSOLE.joinpath("templates").iterdir()]
    sources += [CONSOLE.joinpath("outcome_pages.py").read_text(), CONSOLE.joinpath("pages.py").read_text()]
    used = {key for source in sources for key in re.findall(r"""\bt\(["'](\w+)["']\)""", source)}
    used |= {"scene", "file", "outcome"}  # the tabs, by name
    assert used == set(read_texts())
    assert all(english and french for english, french in read_texts().values())


def test_the_place_is_part_of_the_form() -> None:
    """What a click on the map sets."""
    assert set(PLACE) <= set(FIELDS["accident"])
