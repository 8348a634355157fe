"""Tables of accident data: a normalised copy of the canonical frames, by year, with NULL for unknown."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    String,
    Table,
    Text,
)

from accident_reco.storage.tables import metadata


def _code(name: str, comment: str) -> Column[int]:
    return Column(name, SmallInteger, comment=f"{comment}; words in codebook, NULL = not filled in")


def _number() -> Column[int]:
    return Column(
        "Num_Acc",
        BigInteger,
        ForeignKey("accidents.Num_Acc", ondelete="CASCADE"),
        primary_key=True,
        comment="Accident number, 12 digits, year first",
    )


def _rank(of: str) -> Column[int]:
    return Column("rang", SmallInteger, primary_key=True, comment=f"1 for the first {of} of the accident in the file")


accident_years = Table(
    "accident_years",
    metadata,
    Column("an", SmallInteger, primary_key=True, comment="Year"),
    Column("data_source", String(32), nullable=False, comment="sample, official or directory"),
    Column("victims_sha256", String(64), nullable=False, comment="Content of the merged year that these rows are"),
    Column("accidents", Integer, nullable=False, comment="Rows in accidents"),
    Column("people", Integer, nullable=False, comment="Rows in victims"),
    Column("refused", Integer, nullable=False, comment="Rows of the four files that were refused"),
    Column("repaired", Integer, nullable=False, comment="Values that were repaired"),
    Column("months", SmallInteger, nullable=False, comment="Months with an accident: 12 for a complete year"),
    Column("loaded_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    comment="Which year of accident data is loaded, from where and in which version",
)

accidents = Table(
    "accidents",
    metadata,
    Column("Num_Acc", BigInteger, primary_key=True, autoincrement=False, comment="Accident number, 12 digits"),
    Column("an", SmallInteger, nullable=False, comment="Year"),
    Column("mois", SmallInteger, comment="Month, 1 to 12"),
    Column("jour", SmallInteger, comment="Day of the month"),
    Column("hrmn", SmallInteger, comment="French local time as HHMM"),
    _code("lum", "Light"),
    Column("dep", String(3), comment="Department, INSEE code"),
    Column("com", String(5), comment="Municipality, INSEE code"),
    _code("agg", "Built-up area"),
    _code("int", "Intersection"),
    _code("atm", "Weather"),
    _code("col", "Collision"),
    Column("adr", Text, comment="Address as published"),
    Column("lat", Float, comment="Latitude, WGS84 degrees"),
    Column("long", Float, comment="Longitude, WGS84 degrees"),
    Index("ix_accidents_an_mois", "an", "mois"),
    Index("ix_accidents_an_dep", "an", "dep"),
    comment="One row per accident: when, where, in which circumstances",
)

places = Table(
    "places",
    metadata,
    _number(),
    _rank("road"),
    Column("principal", Boolean, nullable=False, comment="Whether this is the main road that describes the accident"),
    _code("catr", "Road category"),
    Column("voie", Text, comment="Road number or name as published"),
    Column("v1", Text, comment="Numeric suffix of the road"),
    Column("v2", Text, comment="Letter of the road"),
    _code("circ", "Traffic regime"),
    Column("nbv", SmallInteger, comment="Number of lanes"),
    _code("vosp", "Reserved lane"),
    _code("prof", "Gradient"),
    Column("pr", Text, comment="Kilometre post"),
    Column("pr1", Text, comment="Distance to the kilometre post, metres"),
    _code("plan", "Alignment"),
    Column("lartpc", Float, comment="Width of the central reservation, metres"),
    Column("larrout", Float, comment="Width of the carriageway, metres"),
    _code("surf", "Road surface"),
    _code("infra", "Infrastructure"),
    _code("situ", "Position of the accident"),
    Column("vma", SmallInteger, comment="Speed limit, km/h"),
    _code("env1", "School nearby (until 2018)"),
    Column("an", SmallInteger, nullable=False, index=True, comment="Year"),
    comment="One row per road of an accident; one of them is the main road",
)

vehicles = Table(
    "vehicles",
    metadata,
    _number(),
    _rank("vehicle"),
    Column("id_vehicule", String(20), comment="Vehicle id, digits only (since 2019)"),
    Column("num_veh", String(8), comment="Vehicle letter within the accident"),
    _code("senc", "Direction of travel"),
    _code("catv", "Kind of vehicle"),
    _code("obs", "Fixed obstacle struck"),
    _code("obsm", "Moving obstacle struck"),
    _code("choc", "First point of impact"),
    _code("manv", "Manoeuvre before the accident"),
    _code("motor", "Kind of engine"),
    Column("occutc", SmallInteger, comment="People in the public transport vehicle"),
    Column("an", SmallInteger, nullable=False, index=True, comment="Year"),
    comment="One row per vehicle of an accident",
)

victims = Table(
    "victims",
    metadata,
    _number(),
    _rank("person"),
    Column("id_usager", String(20), comment="Road user id, digits only (since 2021)"),
    Column("id_vehicule", String(20), comment="Vehicle that the person was in, or that hit the pedestrian"),
    Column("num_veh", String(8), comment="Letter of that vehicle"),
    Column("catv", SmallInteger, comment="Kind of that vehicle; words in codebook"),
    _code("place", "Seat"),
    _code("catu", "Kind of road user"),
    Column("grav", SmallInteger, nullable=False, comment="Severity: 1 unharmed, 2 killed, 3 hospitalised, 4 slightly"),
    _code("sexe", "Sex"),
    Column("an_nais", SmallInteger, comment="Year of birth"),
    _code("trajet", "Purpose of the journey"),
    _code("secu1", "Safety equipment 1"),
    _code("secu2", "Safety equipment 2"),
    _code("secu3", "Safety equipment 3"),
    _code("locp", "Where the pedestrian was"),
    _code("actp", "What the pedestrian did (10 = A, 11 = B)"),
    _code("etatp", "Pedestrian alone or not"),
    Column("an", SmallInteger, nullable=False, comment="Year"),
    Index("ix_victims_an_grav", "an", "grav"),
    comment="One row per road user, hurt or not",
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("an", SmallInteger, primary_key=True, autoincrement=False, comment="Year of the file"),
    Column("rang", Integer, primary_key=True, autoincrement=False, comment="Position among the notes of the year"),
    Column("source_table", String(16), nullable=False, comment="caracteristiques, lieux, vehicules or usagers"),
    Column("file", Text, nullable=False, comment="Published file name"),
    Column("line", Integer, nullable=False, comment="Line in that file, the header is line 1"),
    Column("Num_Acc", BigInteger, comment="Accident number, where it could be read"),
    Column("column_name", String(32), comment="Column that the rule is about"),
    Column("value", Text, comment="Value as published"),
    Column("rule", String(32), nullable=False, comment="Rule that refused the row or repaired the value"),
    Column("disposition", String(16), nullable=False, comment="refused (row left out) or repaired (value changed)"),
    Column("message", Text, nullable=False, comment="File, line, value, rule and outcome in one sentence"),
    Column("way_out", Text, nullable=False, comment="What a person can do about it"),
    Column("raw", Text, comment="The published line, for refused rows"),
    Index("ix_quarantine_an_rule", "an", "rule"),
    comment="Rows that were refused and values that were repaired while reading",
)

codebook = Table(
    "codebook",
    metadata,
    Column("field", String(16), primary_key=True, comment="Column name"),
    Column("code", SmallInteger, primary_key=True, autoincrement=False, comment="Code"),
    Column("fr", Text, nullable=False, comment="Official words"),
    Column("en", Text, nullable=False, comment="English words"),
    comment="What the codes of accident data mean",
)

TABLES = (accident_years, accidents, places, vehicles, victims, quarantine, codebook)
