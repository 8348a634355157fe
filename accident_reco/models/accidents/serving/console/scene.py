"""A scene: what a person knows about one accident, as the form's fields, as a request and as the text of a link. Pure.

Values are the text of the form; a field without text is unknown. The predict service decides what is valid.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from string import ascii_uppercase
from typing import Any, Final

from accident_reco.models.accidents.serving.console.form_layout import FIELDS

MAX_VEHICLES: Final = 10
MAX_USERS: Final = 30
MAX_VALUE: Final = 40
MAX_LINK: Final = 1_800
"""Length of a scene in a link; two of them are in the address of a comparison."""
_MAX_TEXT: Final = 16_000
_FIELD: Final = re.compile(r"(?:a|v\.(?P<vehicle>[A-Z])|u\.(?P<user>\d{1,2}))\.(?P<name>[a-z_0-9]{1,20})")
_DATE: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)")
_WHOLE: Final = re.compile(r"-?\d{1,9}")
_REAL: Final = re.compile(r"-?\d{1,9}(?:[.,]\d{1,9})?")
_TEXTS: Final = frozenset({"dep", "com"})
_REALS: Final = frozenset({"lat", "long"})

Values = Mapping[str, str]


@dataclass(frozen=True)
class SceneVehicle:
    """A vehicle with its letter."""

    id: str
    values: Values = field(default_factory=dict)


@dataclass(frozen=True)
class SceneUser:
    """A road user; `vehicle` is the letter of the own vehicle, of a pedestrian that of the vehicle that hit them."""

    vehicle: str = ""
    values: Values = field(default_factory=dict)


@dataclass(frozen=True)
class Scene:
    """One accident."""

    accident: Values = field(default_factory=dict)
    vehicles: tuple[SceneVehicle, ...] = ()
    users: tuple[SceneUser, ...] = ()

    def add_vehicle(self) -> Scene:
        """With one more vehicle and its driver."""
        free = [letter for letter in ascii_uppercase if letter not in {vehicle.id for vehicle in self.vehicles}]
        if len(self.vehicles) >= MAX_VEHICLES or len(self.users) >= MAX_USERS:
            return self
        driver = SceneUser(free[0], {"catu": "1", "place": "1"})
        vehicles = sorted((*self.vehicles, SceneVehicle(free[0])), key=lambda vehicle: vehicle.id)
        return replace(self, vehicles=tuple(vehicles), users=(*self.users, driver))

    def remove_vehicle(self, letter: str) -> Scene:
        """Without a vehicle and the people in it; pedestrians stay, of an unknown vehicle."""
        users = (
            replace(user, vehicle="") if user.vehicle == letter else user
            for user in self.users
            if user.vehicle != letter or user.values.get("catu") == "3"
        )
        return replace(self, vehicles=tuple(v for v in self.vehicles if v.id != letter), users=tuple(users))

    def add_user(self, *, on_foot: bool = False) -> Scene:
        """With one more pedestrian, or passenger of the last vehicle."""
        if len(self.users) >= MAX_USERS:
            return self
        vehicle = self.vehicles[0 if on_foot else -1].id if self.vehicles else ""
        values = {"catu": "3", "place": "10"} if on_foot else {"catu": "2"}
        return replace(self, users=(*self.users, SceneUser(vehicle, values)))

    def remove_user(self, index: int) -> Scene:
        """Without a road user."""
        return replace(self, users=tuple(user for at, user in enumerate(self.users) if at != index))

    def move(self, location: Values) -> Scene:
        """At another place: values by `lat`, `long`, `dep`, `com`; those that are absent are unknown."""
        kept = {name: value for name, value in self.accident.items() if name not in ("lat", "long", "dep", "com")}
        return replace(self, accident={**kept, **location})


EXAMPLE: Final = Scene(
    {"mois": "6", "jour": "14", "an": "2024", "hrmn": "17:45", "lum": "1", "agg": "1", "catr": "3", "vma": "80"},
    (SceneVehicle("A", {"catv": "7"}), SceneVehicle("B", {"catv": "33"})),
    (
        SceneUser("A", {"catu": "1", "place": "1", "sexe": "2", "an_nais": "1980", "secu1": "1"}),
        SceneUser("B", {"catu": "1", "place": "1", "sexe": "1", "an_nais": "2001", "secu1": "2"}),
    ),
)
"""The scene of a first visit: a car and a motorcycle on a country road."""


def read_form(fields: Iterable[tuple[str, str]]) -> Scene:
    """The scene of a submitted form; fields that are not of the form are left out."""
    accident: dict[str, str] = {}
    vehicles: dict[str, dict[str, str]] = {}
    users: dict[int, dict[str, str]] = {}
    for key, text in fields:
        found = _FIELD.fullmatch(key)
        if not found:
            continue
        name, value = found["name"], text.strip()[:MAX_VALUE]
        if found["vehicle"]:
            _put(vehicles.setdefault(found["vehicle"], {}), "vehicle", name, value)
        elif found["user"]:
            _put(users.setdefault(int(found["user"]), {}), "user", name, value)
        else:
            _put(accident, "accident", name, value)
    return Scene(
        accident,
        tuple(SceneVehicle(letter, vehicles[letter]) for letter in sorted(vehicles)[:MAX_VEHICLES]),
        tuple(SceneUser(users[at].pop("vehicle", ""), users[at]) for at in sorted(users)[:MAX_USERS]),
    )


def _put(values: dict[str, str], part: str, name: str, value: str) -> None:
    if part == "accident" and name == "date":
        if date := _DATE.fullmatch(value):
            values |= {key: str(int(each)) for key, each in zip(("an", "mois", "jour"), date.groups(), strict=True)}
    elif value and (
        name in FIELDS[part] or (part == "user" and name == "vehicle" and len(value) == 1 and value in ascii_uppercase)
    ):
        values[name] = value


def get_date(values: Values) -> str:
    """The date of a scene as an input of type `date` shows it; empty where it is not complete."""
    parts = [values.get(name, "") for name in ("an", "mois", "jour")]
    return "{:0>4}-{:0>2}-{:0>2}".format(*parts) if all(part.isdecimal() for part in parts) else ""


def build_request(scenes: Iterable[Scene]) -> dict[str, Any]:
    """Body of `POST /predict/<model>`: an accident for each scene, with unknown fields left out.

    What is no number where one belongs is sent as it is: the service refuses it, with the field's name.
    """
    return {
        "accidents": [
            {
                **_convert(scene.accident),
                "vehicles": [{"id": vehicle.id, **_convert(vehicle.values)} for vehicle in scene.vehicles],
                "users": [
                    {**({"vehicle": user.vehicle} if user.vehicle else {}), **_convert(user.values)}
                    for user in scene.users
                ],
            }
            for scene in scenes
        ]
    }


def _convert(values: Values) -> dict[str, Any]:
    return {name: _to_json(name, value) for name, value in values.items()}


def _to_json(name: str, value: str) -> Any:
    if name in _REALS and _REAL.fullmatch(value):
        return float(value.replace(",", "."))
    if name in _TEXTS or name == "hrmn" or not _WHOLE.fullmatch(value):
        return value
    return int(value)


def find_field(pointer: str) -> str:
    """Name of the form's field of a JSON pointer of an error: `/accidents/0/users/1/an_nais` → `u.1.an_nais`.

    Vehicles are named by their position, `v.#0.catv`; empty for a pointer to no field of the first accident.
    """
    parts = pointer.removeprefix("body/").strip("/").split("/")
    if parts[:2] != ["accidents", "0"]:
        return ""
    match parts[2:]:
        case ["users", at, name]:
            return f"u.{at}.{name}"
        case ["vehicles", at, name]:
            return f"v.#{at}.{name}"
        case [name]:
            return f"a.{name}"
    return ""


def encode(scene: Scene) -> str:
    """The scene as text for a link: letters, digits, `-` and `_`. Empty where it would be longer than `MAX_LINK`."""
    document = {
        "a": dict(scene.accident),
        "v": [[vehicle.id, dict(vehicle.values)] for vehicle in scene.vehicles],
        "u": [[user.vehicle, dict(user.values)] for user in scene.users],
    }
    packer = zlib.compressobj(9, wbits=-15)
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    link = base64.urlsafe_b64encode(packer.compress(text) + packer.flush()).decode().rstrip("=")
    return link if len(link) <= MAX_LINK else ""


def decode(link: str) -> Scene | None:
    """The scene of a link; None for text that is none. Unpacks no more than a scene can have."""
    if not link or len(link) > MAX_LINK:
        return None
    try:
        packed = base64.b64decode(link + "=" * (-len(link) % 4), altchars=b"-_", validate=True)
        unpacker = zlib.decompressobj(-15)
        text = unpacker.decompress(packed, _MAX_TEXT)
        if not unpacker.eof:
            return None
        document = json.loads(text)
        fields = [(f"a.{name}", value) for name, value in document["a"].items()]
        for letter, values in document["v"]:
            fields += [(f"v.{letter}.catv", ""), *((f"v.{letter}.{name}", value) for name, value in values.items())]
        for at, (letter, values) in enumerate(document["u"]):
            fields += [(f"u.{at}.vehicle", letter), *((f"u.{at}.{name}", value) for name, value in values.items())]
        # Through the form's reader: a link holds nothing that a form could not.
        return read_form((str(name), str(value)) for name, value in fields)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, binascii.Error, zlib.error):
        return None
