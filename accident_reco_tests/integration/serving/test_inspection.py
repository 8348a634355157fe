"""`POST /inspect/{model}`: the report of `accident-reco inspect` for uploaded files, over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from accident_reco.models.accidents.sample import sample_year
from accident_reco.settings import Settings
from accident_reco_tests.support.live import live
from accident_reco_tests.support.loaders import LOADERS
from serving.predict.app import create_app
from serving.predict.inspection import clean_name

TABLES = {name: file.data for name, file in sample_year(2023, 60).items()}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    settings = Settings.load(home=tmp_path_factory.mktemp("inspect"), auth_required=False)
    with live(create_app(settings, {"accidents": LOADERS["accidents"]}), ready=False) as client:
        yield client


def test_a_year_is_reported_as_by_the_command(client: httpx.Client) -> None:
    """Era, rows, what would be rejected with its line; a damaged file is named, and nothing of the machine is."""
    damaged = TABLES["usagers"].replace(b'"1";"1977"', b'"77";"1977"', 1)
    files = [("file", (f"{name}-2023.csv", data)) for name, data in (TABLES | {"usagers": damaged}).items()]
    answer = client.post("/inspect/accidents", files=files, timeout=60)
    found = {one["file"]: one for one in answer.json()["files"]}
    assert set(found) == {f"{name}-2023.csv" for name in TABLES}
    assert found["caracteristiques-2023.csv"]["content"] == "caracteristiques of 2023"
    assert found["caracteristiques-2023.csv"]["layout"].startswith("layout since 2019")
    assert found["usagers-2023.csv"]["rows"] > 0
    assert "usagers-2023.csv line 2" in " ".join(found["usagers-2023.csv"]["rejected"])
    assert "/tmp" not in answer.text


def test_files_that_no_model_knows(client: httpx.Client) -> None:
    """A near miss is named with what was expected; other files are no error; nothing at all is one."""
    answer = client.post("/inspect/accidents", files=[("file", ("usagers2023x.csv", b"a"))], timeout=60)
    assert answer.json()["model"] == "accidents"
    assert all(one["problem"] for one in answer.json()["files"])
    assert client.post("/inspect/accidents", files={"note": (None, "1")}).status_code == 422
    assert client.post("/inspect/accidents", content=b"x").status_code == 415
    assert client.post("/inspect/cars", files=[("file", ("a.csv", b"a"))]).status_code == 404


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("usagers-2023.csv", "usagers-2023.csv"),
        ("C:\\data\\usagers 2023.csv", "usagers 2023.csv"),
        ("../../etc/passwd", "passwd"),
        ("..", "file-1"),
        (".hidden", "hidden"),
        ("", "file-1"),
        ("a\0b\n.csv", "a_b_.csv"),
        ("Caractéristiques_2019.csv", "Caractéristiques_2019.csv"),
    ],
)
def test_names_are_no_paths(name: str, cleaned: str) -> None:
    """Only the last part of a name, of harmless characters."""
    assert clean_name(name, 0) == cleaned
    assert len(clean_name("x" * 500 + ".csv", 0)) <= 100
