"""The Grafana dashboard of the accident data: where, when and in which circumstances road users are hurt."""

from __future__ import annotations

from typing import Final

from accident_reco.dashboards import Dashboard, MapLayer, Panel, sql_panel, stat_panel

SEVERE: Final = "killed or hospitalised"
"""Column name of the share of road users who are killed or hospitalised."""
_OUTCOMES_SEVERE_SHARE: Final = f'sum(killed + hospitalised)::float8 / sum(people) AS "{SEVERE}"'
_SEVERE_SHARE: Final = f'avg((v.grav IN (2, 3))::int) AS "{SEVERE}"'


def _severity_by_label(title: str, label: str, view: str) -> Panel:
    """Share of road users killed or hospitalised by a label of one of the views `accident_outcomes_by_…`."""
    statement = f"""
        SELECT coalesce({label}, 'unknown') AS {label}, {_OUTCOMES_SEVERE_SHARE}
        FROM accident_outcomes_by_{view} GROUP BY 1 ORDER BY 2 DESC LIMIT 12"""  # noqa: S608 - our own views
    return sql_panel("bars", title, "Share of road users killed or hospitalised", statement, unit="percentunit")


def _severity_by_code(title: str, field: str) -> Panel:
    """Share of road users killed or hospitalised by the label of a code of the accident."""
    statement = f"""
        SELECT coalesce(c.en, 'unknown') AS "{field}", {_SEVERE_SHARE}
        FROM victims v JOIN accidents a ON a."Num_Acc" = v."Num_Acc"
        LEFT JOIN codebook c ON c.field = '{field}' AND c.code = a.{field}
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
        f"""SELECT dep AS department, avg(lat) AS latitude, avg(long) AS longitude, count(*) AS accidents,
        {_OUTCOMES_SEVERE_SHARE} FROM accident_map
        WHERE lat BETWEEN -90 AND 90 AND long BETWEEN -180 AND 180 GROUP BY dep""",  # noqa: S608
        height=14,
        layer=MapLayer("Departments", size="accidents", color=SEVERE),
    ),
    sql_panel(
        "table",
        "Departments",
        "The same as a table, by number of accidents",
        f"""SELECT dep AS department, sum(accidents) AS accidents, sum(people) AS people, sum(killed) AS killed,
        {_OUTCOMES_SEVERE_SHARE} FROM accident_outcomes_by_department GROUP BY dep
        ORDER BY 2 DESC LIMIT 100""",  # noqa: S608
        height=14,
    ),
]
_CIRCUMSTANCES: Final = [
    _severity_by_label("By road", "road", "road"),
    _severity_by_label("By light", "light", "light"),
    _severity_by_label("By vehicle", "vehicle", "vehicle"),
    _severity_by_label("By road user", "road_user", "user"),
    _severity_by_code("By weather", "atm"),
    _severity_by_code("By collision", "col"),
]
_TIME: Final = [
    sql_panel(
        "series",
        "Severity by month",
        "Road users per month, by severity",
        """SELECT make_timestamptz(an, mois, 1, 0, 0, 0, 'UTC') AS time, unharmed, slightly_injured, hospitalised,
        killed FROM accident_outcomes_by_month WHERE mois IS NOT NULL ORDER BY 1""",
        width=16,
    ),
    sql_panel(
        "bars",
        "By hour",
        "Accidents by hour of French local time",
        """SELECT lpad(hour::text, 2, '0') AS hour, sum(accidents) AS accidents FROM accident_outcomes_by_hour
        GROUP BY 1 ORDER BY 1""",
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
        """SELECT an AS year, source_table, rule, disposition, column_name, notes AS cases
        FROM quarantine_by_rule ORDER BY notes DESC LIMIT 50""",
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
