"""The codebook document: complete in both languages, and equal to what requests accept."""

from __future__ import annotations

import pytest

from accident_reco.models.accidents.codebook import FIELDS
from accident_reco.models.accidents.codebook.departments import DEPARTMENTS, get_department
from accident_reco.models.accidents.serving.form_document import build_codebook
from accident_reco.models.accidents.serving.request import Accident, Record, User, Vehicle

FIELD_BY_NAME = {field.name: field for field in build_codebook().fields}


def test_every_field_of_a_request_is_described() -> None:
    """A form built from the document can fill every field of the nested and of the short form."""
    keys = {"id", "vehicle", "vehicles", "users", "id_vehicule", "num_veh", "id_usager"}
    requested = {name for model in (Accident, Vehicle, User, Record) for name in model.model_fields}
    assert set(FIELD_BY_NAME) == requested - keys


@pytest.mark.parametrize("name", FIELD_BY_NAME)
def test_both_languages_are_complete(name: str) -> None:
    """Each field and each of its codes has French and English words; kinds and codes are those of the codebook."""
    field = FIELD_BY_NAME[name]
    assert field.fr
    assert field.en
    for code in field.codes or ():
        assert code.fr
        assert code.en
    if name in FIELDS:
        assert field.kind == FIELDS[name].kind
        assert [code.code for code in field.codes or ()] == list(FIELDS[name].codes or ())


def test_departments_have_codes_of_communes() -> None:
    """Metropolitan, Corsican and overseas communes belong to departments of the table."""
    departments = [get_department(com) for com in ("59350", "2A004", "01004", "97411", "98818")]
    assert departments == ["59", "2A", "01", "974", "988"]
    assert set(departments) <= set(DEPARTMENTS)
    assert len(DEPARTMENTS) == 96 + 11
