"""A scene as form fields, as a request and as a link."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accident_reco.models.accidents.serving.console.form_layout import FIELDS
from accident_reco.models.accidents.serving.console.pages import Request, apply, name_errors
from accident_reco.models.accidents.serving.console.scene import (
    EXAMPLE,
    MAX_LINK,
    MAX_USERS,
    MAX_VEHICLES,
    Scene,
    SceneUser,
    SceneVehicle,
    build_request,
    decode,
    encode,
    find_field,
    get_date,
    read_form,
)
from accident_reco.models.accidents.serving.request import AccidentsRequest

FORM = [
    ("csrf", "x"),
    ("a.date", "2024-06-09"),
    ("a.hrmn", "17:45"),
    ("a.lum", "1"),
    ("a.lat", "50,5"),
    ("a.unknown", "1"),
    ("v.B.catv", ""),
    ("v.A.catv", "7"),
    ("u.1.catu", "3"),
    ("u.1.vehicle", "B"),
    ("u.0.catu", " 1 "),
    ("u.0.vehicle", "AB"),
    ("u.0.an_nais", ""),
]


def pack(document: Any) -> str:
    """A link with any content."""
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(json.dumps(document).encode()) + packer.flush()
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def test_a_form_becomes_a_scene() -> None:
    """Vehicles by letter, road users in order, blank fields unknown, other fields left out."""
    scene = read_form(FORM)
    expected = {"an": "2024", "mois": "6", "jour": "9", "hrmn": "17:45", "lum": "1", "lat": "50,5"}
    assert scene.accident == expected
    assert scene.vehicles == (SceneVehicle("A", {"catv": "7"}), SceneVehicle("B", {}))
    assert scene.users == (SceneUser("", {"catu": "1"}), SceneUser("B", {"catu": "3"}))
    assert get_date(scene.accident) == "2024-06-09"
    assert get_date({"an": "2024"}) == ""


def test_a_scene_becomes_a_valid_request() -> None:
    """Numbers where the service wants numbers; the example is a valid request."""
    (accident,) = build_request([read_form(FORM)])["accidents"]
    assert accident["lat"] == 50.5
    assert accident["hrmn"] == "17:45"
    assert accident["vehicles"] == [{"id": "A", "catv": 7}, {"id": "B"}]
    assert accident["users"] == [{"catu": 1}, {"vehicle": "B", "catu": 3}]
    AccidentsRequest.model_validate(build_request([read_form(FORM), EXAMPLE]))


def test_what_is_no_number_is_left_to_the_service() -> None:
    """As it was typed: the service's error names the field."""
    (accident,) = build_request([Scene({"vma": "fast", "lat": "1e5", "dep": "01"})])["accidents"]
    assert accident == {"vma": "fast", "lat": "1e5", "dep": "01", "vehicles": [], "users": []}


values = st.text(max_size=12).map(str.strip).filter(bool)


@settings(max_examples=25)
@given(st.data())
def test_links_hold_any_scene(data: st.DataObject) -> None:
    """Any text in any field, markup and emoji too, comes back as it was; the address needs no quoting."""

    def draw(part: str) -> dict[str, str]:
        return data.draw(st.dictionaries(st.sampled_from(FIELDS[part]), values, max_size=4))

    letters = data.draw(st.lists(st.sampled_from("ABCDEFGHIJ"), unique=True, max_size=3).map(sorted))
    vehicles = tuple(SceneVehicle(letter, draw("vehicle")) for letter in letters)
    users = tuple(SceneUser(data.draw(st.sampled_from(["", *letters])), draw("user")) for _ in range(3))
    scene = Scene(draw("accident"), vehicles, users)
    link = encode(scene)
    assert decode(link) == scene
    assert link.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize(
    "link",
    [
        "",
        "!",
        "é" * 10,
        "A" * (MAX_LINK + 1),
        "AAAA",
        pack([]),
        pack({"a": [], "v": [], "u": []}),
        pack({"a": {}, "v": [1], "u": []}),
        pack({"a": {}, "v": [], "u": [["A"]]}),
        pack({"a": {"lum": "1" * 100_000}, "v": [], "u": []}),
        encode(EXAMPLE)[:-6],
    ],
)
def test_other_text_is_no_link(link: str) -> None:
    """Neither an error nor more memory than a scene needs: a link that unpacks to much is refused."""
    assert decode(link) is None


def test_a_link_holds_only_what_a_form_could() -> None:
    """Unknown fields, other types and too many parts of a forged link are dropped or shortened."""
    users = [["A", {"catu": 1, "grav": "2", "__class__": "x"}]] * 99
    scene = decode(pack({"a": {"lum": "<b>" * 40, "Num_Acc": "1"}, "v": [["A", {}], ["AA", {}]], "u": users}))
    assert scene is not None
    assert set(scene.accident) == {"lum"}
    assert len(scene.accident["lum"]) == 40
    assert [vehicle.id for vehicle in scene.vehicles] == ["A"]
    assert len(scene.users) == MAX_USERS
    assert scene.users[0] == SceneUser("A", {"catu": "1"})


def test_a_scene_that_is_too_large_has_no_link() -> None:
    """The page says so and works on."""
    users = tuple(SceneUser("", {name: f"{at}{name}{at * at}" for name in FIELDS["user"]}) for at in range(MAX_USERS))
    assert encode(Scene({}, (), users)) == ""


def test_buttons_change_the_scene() -> None:
    """Each action, and the part of the page to go to."""
    request = Request(EXAMPLE, None, "en")

    def act(action: str, start: Request = request) -> tuple[Request, str]:
        return apply(start, action)

    added, fragment = act("add-vehicle")
    assert ([vehicle.id for vehicle in added.scene.vehicles], fragment) == (["A", "B", "C"], "#v-C")
    assert added.scene.users[-1] == SceneUser("C", {"catu": "1", "place": "1"})
    walker, fragment = act("add-pedestrian")
    assert (walker.scene.users[-1].values["catu"], walker.scene.users[-1].vehicle, fragment) == ("3", "A", "#u-2")
    assert act("add-passenger")[0].scene.users[-1].vehicle == "B"
    gone = act("remove-vehicle:A", walker)[0].scene
    assert [vehicle.id for vehicle in gone.vehicles] == ["B"]
    assert [(user.vehicle, user.values["catu"]) for user in gone.users] == [("B", "1"), ("", "3")]
    assert act("add-vehicle", Request(gone, None, "en"))[0].scene.vehicles[0].id == "A", "the free letter is used again"
    assert len(act("remove-user:0")[0].scene.users) == 1
    assert act("empty")[0].scene == Scene()
    assert act("example", Request(Scene(), None, "fr"))[0] == Request(EXAMPLE, None, "fr")
    compared = act("compare")[0]
    assert compared.other == EXAMPLE
    assert act("swap", Request(Scene(), EXAMPLE, "en"))[0] == Request(EXAMPLE, Scene(), "en")
    assert act("single", compared)[0].other is None
    assert act("lang:fr")[0].language == "fr"
    assert act("clear-place", Request(Scene({"dep": "59", "lum": "1"}), None, "en"))[0].scene == Scene({"lum": "1"})
    for action in ("", "answer", "remove-user:x", "remove-vehicle:", "swap", "nonsense"):
        assert act(action)[0] == request, action


def test_scenes_have_bounds() -> None:
    """A thousand clicks on the same button."""
    request = Request(Scene(), None, "en")
    for _ in range(MAX_VEHICLES + 5):
        request = apply(request, "add-vehicle")[0]
    assert len(request.scene.vehicles) == MAX_VEHICLES
    for _ in range(MAX_USERS + 5):
        request = apply(request, "add-passenger")[0]
    assert len(request.scene.users) == MAX_USERS


@pytest.mark.parametrize(
    ("pointer", "field"),
    [
        ("body/accidents/0/users/1/an_nais", "u.1.an_nais"),
        ("body/accidents/0/vehicles/0/catv", "v.#0.catv"),
        ("body/accidents/0/vma", "a.vma"),
        ("body/accidents/1/vma", ""),
        ("body/records/0/vma", ""),
        ("body", ""),
    ],
)
def test_errors_name_fields(pointer: str, field: str) -> None:
    """Those of the edited scene only."""
    assert find_field(pointer) == field


def test_errors_of_vehicles_have_their_letter() -> None:
    """The request has vehicles in order, the form by letter."""
    scene = Scene({}, (SceneVehicle("B"), SceneVehicle("D")))
    pointers = {"body/accidents/0/vehicles/1/catv": "wrong", "body/accidents/0/vehicles/7/catv": "gone"}
    assert name_errors(pointers, scene) == {"v.D.catv": "wrong"}
