"""Accident data by year, quarantine, codebook, model metrics, and the views that dashboards read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from accident_reco.storage.migrations.accident_views import VIEWS

revision = "0002_accidents"
down_revision = "0001_lifecycle"
branch_labels = None
depends_on = None


def _code(name: str, comment: str) -> sa.Column[int]:
    return sa.Column(
        name, sa.SmallInteger(), nullable=True, comment=f"{comment}; words in codebook, NULL = not filled in"
    )


def upgrade() -> None:
    op.create_table(
        "accident_years",
        sa.Column("an", sa.SmallInteger(), nullable=False, comment="Year"),
        sa.Column("data_source", sa.String(length=32), nullable=False, comment="sample, official or directory"),
        sa.Column(
            "victims_sha256",
            sa.String(length=64),
            nullable=False,
            comment="Content of the merged year that these rows are",
        ),
        sa.Column("accidents", sa.Integer(), nullable=False, comment="Rows in accidents"),
        sa.Column("people", sa.Integer(), nullable=False, comment="Rows in victims"),
        sa.Column("refused", sa.Integer(), nullable=False, comment="Rows of the four files that were refused"),
        sa.Column("repaired", sa.Integer(), nullable=False, comment="Values that were repaired"),
        sa.Column(
            "months", sa.SmallInteger(), nullable=False, comment="Months with an accident: 12 for a complete year"
        ),
        sa.Column("loaded_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.PrimaryKeyConstraint("an", name=op.f("pk_accident_years")),
        comment="Which year of accident data is loaded, from where and in which version",
    )
    op.create_table(
        "accidents",
        sa.Column(
            "Num_Acc", sa.BigInteger(), autoincrement=False, nullable=False, comment="Accident number, 12 digits"
        ),
        sa.Column("an", sa.SmallInteger(), nullable=False, comment="Year"),
        sa.Column("mois", sa.SmallInteger(), nullable=True, comment="Month, 1 to 12"),
        sa.Column("jour", sa.SmallInteger(), nullable=True, comment="Day of the month"),
        sa.Column("hrmn", sa.SmallInteger(), nullable=True, comment="French local time as HHMM"),
        _code("lum", "Light"),
        sa.Column("dep", sa.String(length=3), nullable=True, comment="Department, INSEE code"),
        sa.Column("com", sa.String(length=5), nullable=True, comment="Municipality, INSEE code"),
        _code("agg", "Built-up area"),
        _code("int", "Intersection"),
        _code("atm", "Weather"),
        _code("col", "Collision"),
        sa.Column("adr", sa.Text(), nullable=True, comment="Address as published"),
        sa.Column("lat", sa.Float(), nullable=True, comment="Latitude, WGS84 degrees"),
        sa.Column("long", sa.Float(), nullable=True, comment="Longitude, WGS84 degrees"),
        sa.PrimaryKeyConstraint("Num_Acc", name=op.f("pk_accidents")),
        comment="One row per accident: when, where, in which circumstances",
    )
    with op.batch_alter_table("accidents", schema=None) as batch_op:
        batch_op.create_index("ix_accidents_an_dep", ["an", "dep"], unique=False)
        batch_op.create_index("ix_accidents_an_mois", ["an", "mois"], unique=False)

    op.create_table(
        "codebook",
        sa.Column("field", sa.String(length=16), nullable=False, comment="Column name"),
        sa.Column("code", sa.SmallInteger(), autoincrement=False, nullable=False, comment="Code"),
        sa.Column("fr", sa.Text(), nullable=False, comment="Official words"),
        sa.Column("en", sa.Text(), nullable=False, comment="English words"),
        sa.PrimaryKeyConstraint("field", "code", name=op.f("pk_codebook")),
        comment="What the codes of accident data mean",
    )
    op.create_table(
        "model_metrics",
        sa.Column("model", sa.String(length=32), nullable=False, comment="Model name: accidents or movies"),
        sa.Column("version", sa.String(length=64), nullable=False, comment="Version"),
        sa.Column("metric", sa.String(length=64), nullable=False, comment="Metric name, on the frozen holdout"),
        sa.Column("value", sa.Float(), nullable=False, comment="Value"),
        sa.Column("data_source", sa.String(length=32), nullable=False, comment="What the version was trained from"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=True, comment="UTC, when the version was made"),
        sa.PrimaryKeyConstraint("model", "version", "metric", name=op.f("pk_model_metrics")),
        comment="Metrics of every model version in the store",
    )
    op.create_table(
        "quarantine",
        sa.Column("an", sa.SmallInteger(), autoincrement=False, nullable=False, comment="Year of the file"),
        sa.Column(
            "rang", sa.Integer(), autoincrement=False, nullable=False, comment="Position among the notes of the year"
        ),
        sa.Column(
            "source_table",
            sa.String(length=16),
            nullable=False,
            comment="caracteristiques, lieux, vehicules or usagers",
        ),
        sa.Column("file", sa.Text(), nullable=False, comment="Published file name"),
        sa.Column("line", sa.Integer(), nullable=False, comment="Line in that file, the header is line 1"),
        sa.Column("Num_Acc", sa.BigInteger(), nullable=True, comment="Accident number, where it could be read"),
        sa.Column("column_name", sa.String(length=32), nullable=True, comment="Column that the rule is about"),
        sa.Column("value", sa.Text(), nullable=True, comment="Value as published"),
        sa.Column(
            "rule", sa.String(length=32), nullable=False, comment="Rule that refused the row or repaired the value"
        ),
        sa.Column(
            "disposition",
            sa.String(length=16),
            nullable=False,
            comment="refused (row left out) or repaired (value changed)",
        ),
        sa.Column("message", sa.Text(), nullable=False, comment="File, line, value, rule and outcome in one sentence"),
        sa.Column("way_out", sa.Text(), nullable=False, comment="What a person can do about it"),
        sa.Column("raw", sa.Text(), nullable=True, comment="The published line, for refused rows"),
        sa.PrimaryKeyConstraint("an", "rang", name=op.f("pk_quarantine")),
        comment="Rows that were refused and values that were repaired while reading",
    )
    with op.batch_alter_table("quarantine", schema=None) as batch_op:
        batch_op.create_index("ix_quarantine_an_rule", ["an", "rule"], unique=False)

    op.create_table(
        "places",
        sa.Column("Num_Acc", sa.BigInteger(), nullable=False, comment="Accident number, 12 digits, year first"),
        sa.Column(
            "rang", sa.SmallInteger(), nullable=False, comment="1 for the first road of the accident in the file"
        ),
        sa.Column(
            "principal",
            sa.Boolean(),
            nullable=False,
            comment="Whether this is the main road that describes the accident",
        ),
        _code("catr", "Road category"),
        sa.Column("voie", sa.Text(), nullable=True, comment="Road number or name as published"),
        sa.Column("v1", sa.Text(), nullable=True, comment="Numeric suffix of the road"),
        sa.Column("v2", sa.Text(), nullable=True, comment="Letter of the road"),
        _code("circ", "Traffic regime"),
        sa.Column("nbv", sa.SmallInteger(), nullable=True, comment="Number of lanes"),
        _code("vosp", "Reserved lane"),
        _code("prof", "Gradient"),
        sa.Column("pr", sa.Text(), nullable=True, comment="Kilometre post"),
        sa.Column("pr1", sa.Text(), nullable=True, comment="Distance to the kilometre post, metres"),
        _code("plan", "Alignment"),
        sa.Column("lartpc", sa.Float(), nullable=True, comment="Width of the central reservation, metres"),
        sa.Column("larrout", sa.Float(), nullable=True, comment="Width of the carriageway, metres"),
        _code("surf", "Road surface"),
        _code("infra", "Infrastructure"),
        _code("situ", "Position of the accident"),
        sa.Column("vma", sa.SmallInteger(), nullable=True, comment="Speed limit, km/h"),
        _code("env1", "School nearby (until 2018)"),
        sa.Column("an", sa.SmallInteger(), nullable=False, comment="Year"),
        sa.ForeignKeyConstraint(
            ["Num_Acc"], ["accidents.Num_Acc"], name=op.f("fk_places_Num_Acc_accidents"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("Num_Acc", "rang", name=op.f("pk_places")),
        comment="One row per road of an accident; one of them is the main road",
    )
    with op.batch_alter_table("places", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_places_an"), ["an"], unique=False)

    op.create_table(
        "vehicles",
        sa.Column("Num_Acc", sa.BigInteger(), nullable=False, comment="Accident number, 12 digits, year first"),
        sa.Column(
            "rang", sa.SmallInteger(), nullable=False, comment="1 for the first vehicle of the accident in the file"
        ),
        sa.Column("id_vehicule", sa.String(length=20), nullable=True, comment="Vehicle id, digits only (since 2019)"),
        sa.Column("num_veh", sa.String(length=8), nullable=True, comment="Vehicle letter within the accident"),
        _code("senc", "Direction of travel"),
        _code("catv", "Kind of vehicle"),
        _code("obs", "Fixed obstacle struck"),
        _code("obsm", "Moving obstacle struck"),
        _code("choc", "First point of impact"),
        _code("manv", "Manoeuvre before the accident"),
        _code("motor", "Kind of engine"),
        sa.Column("occutc", sa.SmallInteger(), nullable=True, comment="People in the public transport vehicle"),
        sa.Column("an", sa.SmallInteger(), nullable=False, comment="Year"),
        sa.ForeignKeyConstraint(
            ["Num_Acc"], ["accidents.Num_Acc"], name=op.f("fk_vehicles_Num_Acc_accidents"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("Num_Acc", "rang", name=op.f("pk_vehicles")),
        comment="One row per vehicle of an accident",
    )
    with op.batch_alter_table("vehicles", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_vehicles_an"), ["an"], unique=False)

    op.create_table(
        "victims",
        sa.Column("Num_Acc", sa.BigInteger(), nullable=False, comment="Accident number, 12 digits, year first"),
        sa.Column(
            "rang", sa.SmallInteger(), nullable=False, comment="1 for the first person of the accident in the file"
        ),
        sa.Column("id_usager", sa.String(length=20), nullable=True, comment="Road user id, digits only (since 2021)"),
        sa.Column(
            "id_vehicule",
            sa.String(length=20),
            nullable=True,
            comment="Vehicle that the person was in, or that hit the pedestrian",
        ),
        sa.Column("num_veh", sa.String(length=8), nullable=True, comment="Letter of that vehicle"),
        sa.Column("catv", sa.SmallInteger(), nullable=True, comment="Kind of that vehicle; words in codebook"),
        _code("place", "Seat"),
        _code("catu", "Kind of road user"),
        sa.Column(
            "grav",
            sa.SmallInteger(),
            nullable=False,
            comment="Severity: 1 unharmed, 2 killed, 3 hospitalised, 4 slightly",
        ),
        _code("sexe", "Sex"),
        sa.Column("an_nais", sa.SmallInteger(), nullable=True, comment="Year of birth"),
        _code("trajet", "Purpose of the journey"),
        _code("secu1", "Safety equipment 1"),
        _code("secu2", "Safety equipment 2"),
        _code("secu3", "Safety equipment 3"),
        _code("locp", "Where the pedestrian was"),
        _code("actp", "What the pedestrian did (10 = A, 11 = B)"),
        _code("etatp", "Pedestrian alone or not"),
        sa.Column("an", sa.SmallInteger(), nullable=False, comment="Year"),
        sa.ForeignKeyConstraint(
            ["Num_Acc"], ["accidents.Num_Acc"], name=op.f("fk_victims_Num_Acc_accidents"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("Num_Acc", "rang", name=op.f("pk_victims")),
        comment="One row per road user, hurt or not",
    )
    with op.batch_alter_table("victims", schema=None) as batch_op:
        batch_op.create_index("ix_victims_an_grav", ["an", "grav"], unique=False)

    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query}")
