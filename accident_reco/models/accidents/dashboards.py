"""The Grafana dashboard of the accident data: where, when and in which circumstances road users are hurt."""

from __future__ import annotations

from typing import Final

from accident_reco.dashboards import Dashboard, Format, MapLayer, Panel, sql_panel, stat_panel

SEVERE: Final = "killed or hospitalised"
"""Column name of the share of road users who are killed or hospitalised."""
SHARE: Final = Format(
    "percentunit", decimals=1, steps=((0.0, "green"), (0.15, "yellow"), (0.25, "orange"), (0.4, "red"))
)
"""Colours of the share: over all roads it is just below a fifth."""
COUNT: Final = Format("locale")
_OUTCOMES_SEVERE_SHARE: Final = f'sum(killed + hospitalised)::float8 / sum(people) AS "{SEVERE}"'
_SEVERE_SHARE: Final = f'avg((v.grav IN (2, 3))::int) AS "{SEVERE}"'
_DEPARTMENTS: Final = "dep IN (${department:sqlstring})"


def _severity_by_label(title: str, label: str, view: str) -> Panel:
    """Share of road users killed or hospitalised by a label of one of the views `accident_outcomes_by_…`."""
    statement = f"""
        SELECT coalesce({label}, 'unknown') AS {label}, {_OUTCOMES_SEVERE_SHARE}
        FROM accident_outcomes_by_{view} GROUP BY 1 ORDER BY 2 DESC LIMIT 12"""  # noqa: S608 - our own views
    description = "Share of road users killed or hospitalised, in all departments"
    return sql_panel("bars", title, description, statement, shown=SHARE)


def _severity_by_code(title: str, field: str) -> Panel:
    """Share of road users killed or hospitalised by the label of a code of the accident, in the chosen departments."""
    statement = f"""
        SELECT coalesce(c.en, 'unknown') AS "{field}", {_SEVERE_SHARE}
        FROM victims v JOIN accidents a ON a."Num_Acc" = v."Num_Acc"
        LEFT JOIN codebook c ON c.field = '{field}' AND c.code = a.{field}
        WHERE a.{_DEPARTMENTS} GROUP BY 1 ORDER BY 2 DESC LIMIT 12"""  # noqa: S608 - names of our own columns
    description = "Share of road users killed or hospitalised, in the chosen departments"
    return sql_panel("bars", title, description, statement, shown=SHARE)


_OVERVIEW: Final = [
    stat_panel("Accidents", "Of all loaded years", "SELECT sum(accidents) AS accidents FROM accident_years"),
    stat_panel("Road users", "Involved in these accidents", "SELECT sum(people) AS people FROM accident_years"),
    stat_panel(
        "Killed",
        "Within 30 days, in the chosen departments",
        f"SELECT sum(killed) AS killed FROM accident_outcomes_by_department WHERE {_DEPARTMENTS}",  # noqa: S608
    ),
    stat_panel(
        "Killed or hospitalised",
        "Share of the road users in the chosen departments",
        f"SELECT {_OUTCOMES_SEVERE_SHARE} FROM accident_outcomes_by_department WHERE {_DEPARTMENTS}",  # noqa: S608
        unit="percentunit",
    ),
]
_WHERE: Final = [
    sql_panel(
        "map",
        "By department",
        "A circle per department: its size is the number of accidents, its colour the share killed or hospitalised",
        f"""SELECT dep AS department, avg(lat) AS latitude, avg(long) AS longitude, count(*) AS accidents,
        {_OUTCOMES_SEVERE_SHARE} FROM accident_map
        WHERE lat BETWEEN -90 AND 90 AND long BETWEEN -180 AND 180 AND {_DEPARTMENTS} GROUP BY dep""",  # noqa: S608
        height=14,
        columns={SEVERE: SHARE, "accidents": COUNT},
        layer=MapLayer("Departments", size="accidents", color=SEVERE),
    ),
    sql_panel(
        "table",
        "Departments",
        "The same as a table, by number of accidents",
        f"""SELECT dep AS department, sum(accidents) AS accidents, sum(people) AS people, sum(killed) AS killed,
        {_OUTCOMES_SEVERE_SHARE} FROM accident_outcomes_by_department WHERE {_DEPARTMENTS} GROUP BY dep
        ORDER BY 2 DESC LIMIT 110""",  # noqa: S608
        height=14,
        columns={SEVERE: SHARE, "accidents": COUNT, "people": COUNT, "killed": COUNT},
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
        unit="locale",
        width=16,
    ),
    sql_panel(
        "bars",
        "By hour",
        "Accidents by hour of French local time",
        """SELECT lpad(hour::text, 2, '0') AS hour, sum(accidents) AS accidents FROM accident_outcomes_by_hour
        GROUP BY 1 ORDER BY 1""",
        unit="locale",
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
        columns=dict.fromkeys(("accidents", "people", "refused", "repaired"), COUNT),
    ),
    sql_panel(
        "table",
        "Quarantine",
        "Rules that rejected rows or repaired values",
        """SELECT an AS year, source_table, rule, disposition, column_name, notes AS cases
        FROM quarantine_by_rule ORDER BY notes DESC LIMIT 50""",
        columns={"cases": COUNT},
    ),
]

DASHBOARDS: Final = (
    Dashboard(
        "accidents",
        "Accidents",
        "analyst",
        "What happened on the roads: where, when and in which circumstances are road users hurt?",
        [
            ("Overview", _OVERVIEW),
            ("Where", _WHERE),
            ("Circumstances", _CIRCUMSTANCES),
            ("Over time", _TIME),
            ("Data", _DATA),
        ],
        since="now-6y",
        variables=("department",),
    ),
)
