"""The Grafana dashboard of the accident data: where, when and in which circumstances road users are hurt."""

from __future__ import annotations

from typing import Final

from accident_reco.dashboards import Dashboard, MapLayer, Panel, sql_panel, stat_panel

SEVERE: Final = "killed or hospitalised"
"""Column name of the share of road users who are killed or hospitalised."""
_SEVERE_SHARE: Final = f'avg((v.grav IN (2, 3))::int) AS "{SEVERE}"'


def _severity_by_code(title: str, field: str, table: str) -> Panel:
    """Share of road users killed or hospitalised by the label of a code.

    Args:
        table: `accidents`, or `places` (its principal road).
    """
    of_accident = table == "accidents"
    joined = "" if of_accident else 'JOIN places p ON p."Num_Acc" = a."Num_Acc" AND p.principal'
    column = f"a.{field}" if of_accident else f"p.{field}"
    statement = f"""
        SELECT coalesce(c.en, 'unknown') AS "{field}", {_SEVERE_SHARE}
        FROM victims v JOIN accidents a ON a."Num_Acc" = v."Num_Acc" {joined}
        LEFT JOIN codebook c ON c.field = '{field}' AND c.code = {column}
        GROUP BY 1 ORDER BY 2 DESC LIMIT 12"""  # noqa: S608 - names of our own columns
    return sql_panel("bars", title, "Share of road users killed or hospitalised", statement, unit="percentunit")


_OVERVIEW: Final = [
    stat_panel("Accidents", "Of all loaded years", "SELECT count(*) AS accidents FROM accidents"),
    stat_panel("Road users", "Involved in these accidents", "SELECT count(*) AS people FROM victims"),
    stat_panel("Killed", "Within 30 days", "SELECT count(*) AS killed FROM victims WHERE grav = 2"),
    stat_panel(
        "Killed or hospitalised",
        "Share of the road users",
        "SELECT avg((grav IN (2, 3))::int) AS share FROM victims",
        unit="percentunit",
    ),
]
_WHERE: Final = [
    sql_panel(
        "map",
        "By department",
        "A circle per department: accidents and share of road users killed or hospitalised",
        f"""SELECT a.dep AS department, avg(a.lat) AS latitude, avg(a.long) AS longitude,
        count(DISTINCT a."Num_Acc") AS accidents, {_SEVERE_SHARE}
        FROM accidents a JOIN victims v ON v."Num_Acc" = a."Num_Acc"
        WHERE a.lat BETWEEN -90 AND 90 AND a.long BETWEEN -180 AND 180 GROUP BY a.dep""",  # noqa: S608
        height=14,
        layer=MapLayer("Departments", size="accidents", color=SEVERE),
    ),
    sql_panel(
        "table",
        "Departments",
        "The same as a table, by number of accidents",
        f"""SELECT a.dep AS department, count(DISTINCT a."Num_Acc") AS accidents, count(*) AS people,
        sum((v.grav = 2)::int) AS killed, {_SEVERE_SHARE}
        FROM accidents a JOIN victims v ON v."Num_Acc" = a."Num_Acc" GROUP BY a.dep
        ORDER BY 2 DESC LIMIT 100""",  # noqa: S608
        height=14,
    ),
]
_CIRCUMSTANCES: Final = [
    _severity_by_code("By road", "catr", "places"),
    _severity_by_code("By light", "lum", "accidents"),
    _severity_by_code("By weather", "atm", "accidents"),
    _severity_by_code("By collision", "col", "accidents"),
]
_TIME: Final = [
    sql_panel(
        "series",
        "Severity by month",
        "Road users per month, by severity",
        """SELECT make_timestamptz(a.an, a.mois, 1, 0, 0, 0, 'UTC') AS time, coalesce(c.en, 'unknown') AS metric,
        count(*) AS value FROM victims v JOIN accidents a ON a."Num_Acc" = v."Num_Acc"
        LEFT JOIN codebook c ON c.field = 'grav' AND c.code = v.grav WHERE a.mois IS NOT NULL
        GROUP BY 1, 2 ORDER BY 1""",
        width=16,
    ),
    sql_panel(
        "bars",
        "By hour",
        "Accidents by hour of French local time",
        """SELECT lpad((hrmn / 100)::text, 2, '0') AS hour, count(*) AS accidents FROM accidents
        WHERE hrmn IS NOT NULL GROUP BY 1 ORDER BY 1""",
        width=8,
    ),
]
_DATA: Final = [
    sql_panel(
        "table",
        "Years loaded",
        "Years in the warehouse and their source",
        """SELECT an AS year, data_source, accidents, people, refused, repaired, months, loaded_at
        FROM accident_years ORDER BY an""",
    ),
    sql_panel(
        "table",
        "Quarantine",
        "Rules that rejected rows or repaired values",
        """SELECT an AS year, rule, disposition, count(*) AS cases FROM quarantine
        GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT 50""",
    ),
]

DASHBOARDS: Final = (
    Dashboard(
        "accidents",
        "Accidents",
        "Where, when and in which circumstances road users are hurt",
        [
            ("Overview", _OVERVIEW),
            ("Where", _WHERE),
            ("Circumstances", _CIRCUMSTANCES),
            ("Over time", _TIME),
            ("Data", _DATA),
        ],
        since="now-6y",
    ),
)
