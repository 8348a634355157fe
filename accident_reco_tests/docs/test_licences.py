"""Licences: the project's own, and those of every package that runs with it."""

from __future__ import annotations

import hashlib
import re
from email.message import Message

import pytest
import yaml

from accident_reco_tests.docs.licences import (
    COLLECTION,
    REVIEWED,
    ROOT,
    RUN_TIME_EXTRAS,
    TEST_EXTRAS,
    Reviewed,
    find_closure,
    is_permitted,
    judge,
    licence_page,
    list_own_packages,
    read_licence,
    read_lock,
    read_lock_files,
    read_project,
    read_roots,
)

APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
"""SHA-256 of https://www.apache.org/licenses/LICENSE-2.0.txt."""

LOCK = """\
copyleft==2.0 \\
    --hash=sha256:00
    # via
    #   helper
    #   tool
helper==1.1 ; python_full_version < '3.12' \\
    --hash=sha256:00
    # via Main_App
helper==1.2 ; python_full_version >= '3.12' \\
    --hash=sha256:00
    # via main-app
main-app[fast]==3.0 \\
    --hash=sha256:00
    # via accident-reco (pyproject.toml)
tool==4.0
    # via accident-reco (pyproject.toml)
"""


def test_no_package_that_runs_has_a_forbidden_licence() -> None:
    """BUSL, SSPL, AGPL, GPL, or no licence at all; a package brought one (BUSL) by way of another."""
    packages = list_own_packages()
    assert [package.problem for package in packages if package.run_time and package.problem] == []
    assert {"dagster", "scipy", "certifi", "psycopg2-binary"} < {p.name for p in packages if p.run_time}


def test_packages_of_tests_with_a_forbidden_licence_are_known() -> None:
    """They are programs that tests start; `REVIEWED` has the reason."""
    found = [package.problem for package in list_own_packages() if not package.run_time and package.problem]
    assert found == [f"{name}: {review.licence}" for name, review in sorted(REVIEWED.items()) if not review.permitted]


def test_every_review_is_of_a_locked_package() -> None:
    """A package that is gone leaves no exception behind."""
    assert set(REVIEWED) - {package.name for package in list_own_packages()} == set()


def test_every_dependency_is_locked_and_every_extra_is_judged() -> None:
    """A dependency that is missing in the lock, or an extra that nobody assigned, would escape the test above."""
    versions, _ = read_lock(read_lock_files())
    project = read_project()
    assert read_roots(project) - set(versions) == set()
    extras = set(project["optional-dependencies"])  # type: ignore[call-overload]
    assert extras - {*RUN_TIME_EXTRAS, COLLECTION, *TEST_EXTRAS} == set()
    assert {*RUN_TIME_EXTRAS, COLLECTION} - extras == set()


def test_closure_follows_the_lock() -> None:
    """Through every requirement, with any spelling of names, every version, and both ways of writing `via`."""
    versions, requires = read_lock(LOCK)
    assert versions == {"copyleft": ("2.0",), "helper": ("1.1", "1.2"), "main-app": ("3.0",), "tool": ("4.0",)}
    assert find_closure({"main-app"}, requires) == {"main-app", "helper", "copyleft"}
    assert find_closure({"helper"}, requires) == {"helper", "copyleft"}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"License-Expression": "BUSL-1.1"}, "BUSL-1.1"),
        ({"License-Expression": "MIT", "License": "other"}, "MIT"),
        ({"License": "Apache License, Version 2.0"}, "Apache-2.0"),
        ({"License": "GPL-3.0"}, "GPL-3.0"),
        ({"License": "MIT", "Classifier": "License :: OSI Approved :: MIT License"}, "MIT"),
        (
            {"License": "MIT", "Classifier": "License :: OSI Approved :: GNU Affero General Public License v3"},
            "MIT, GNU Affero General Public License v3",
        ),
        ({"License": "Copyright (c) 2020\nAll rights", "Classifier": "License :: OSI Approved :: BSD License"}, "BSD"),
        ({"License": "MIT License\n\nPermission is hereby granted"}, "MIT"),
        ({"License": "Dual License", "Classifier": "License :: OSI Approved :: MIT License"}, "MIT"),
        ({"License": "UNKNOWN", "Classifier": "License :: OSI Approved :: MIT License"}, "MIT"),
        ({"License": "UNKNOWN"}, ""),
        ({"Classifier": "License :: OSI Approved"}, ""),
        ({"Classifier": "Programming Language :: Python"}, ""),
    ],
)
def test_licence_is_read_from_metadata(headers: dict[str, str], expected: str) -> None:
    """Expression, then name, then classifiers; a text is no name, and a contradiction is told."""
    message = Message()
    for name, value in headers.items():
        message[name] = value
    assert read_licence(message) == expected


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("MIT", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("MIT AND GPL-2.0-only", False),
        ("MIT, GNU Affero General Public License v3", False),
        ("AGPL-3.0-or-later", False),
        ("SSPL-1.0", False),
        ("BUSL-1.1", False),
        ("LGPL-3.0", False),
        ("", False),
    ],
)
def test_permitted_licences(licence: str, expected: bool) -> None:
    """All licences that are named must be permitted; none is not."""
    assert is_permitted(licence) is expected


@pytest.mark.parametrize(
    ("stated", "review", "problem"),
    [
        ("", None, "thing: its metadata states no licence"),
        ("GPL-3.0", None, "thing: GPL-3.0"),
        ("LGPL", Reviewed("LGPL", "LGPL-3.0", "replaceable"), ""),
        ("GPL", Reviewed("LGPL", "LGPL-3.0", "replaceable"), "thing: states 'GPL' now, 'LGPL' when it was reviewed"),
        ("GPL", Reviewed("GPL", "GPL-3.0", "program", permitted=False), "thing: GPL-3.0"),
    ],
)
def test_judgement_of_a_package(stated: str, review: Reviewed | None, problem: str) -> None:
    """A review holds for what was stated when it was made."""
    assert judge("thing", stated, {"thing": review} if review else {})[1] == problem


def test_page_lists_every_package_once() -> None:
    """Each package of the lock file with version and licence, in one of the two tables."""
    page = licence_page()
    for package in list_own_packages():
        assert page.count(f"| {package.name} | {', '.join(package.versions)} | {package.licence} |") == 1


def test_project_is_apache_licensed() -> None:
    """The whole text, and the same in the metadata of the wheel, which carries both files."""
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2
    project = read_project()
    assert project["license"] == "Apache-2.0"
    assert project["license-files"] == ["LICENSE", "NOTICE"]


def test_notice_names_data_and_copied_files() -> None:
    """Both data sets with what binds their users, and every file that is not the project's own."""
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for named in ("Licence Ouverte", "Etalab", "MovieLens", "no commercial or revenue-bearing use", "psycopg2"):
        assert named in notice
    for path in re.findall(r"\baccident_reco\w*/[\w./-]+", notice):
        assert (ROOT / path).exists(), path


def test_images_of_deployment_are_under_known_licences() -> None:
    """Each image of another project that compose starts is named in the notice; Redis in its last BSD branch."""
    services = yaml.safe_load((ROOT / "deploy/compose/compose.yaml").read_text(encoding="utf-8"))["services"]
    images = {service["image"] for service in services.values() if "image" in service}
    names = {image.split(":")[0].rsplit("/", 1)[-1] for image in images if not image.startswith("accident-reco/")}
    assert names == {"postgres", "seaweedfs", "redis", "prometheus", "alertmanager", "loki", "alloy", "grafana"} | {
        "postgres-exporter",
        "node-exporter",
    }
    assert [image.split(":")[1].split(".")[:2] for image in images if image.startswith("redis:")] == [["7", "2"]]
