"""Views of revision 0002, for dashboards, in SQL that SQLite and PostgreSQL take. A later change is a new revision."""

# ruff: noqa: S608 - no value from outside enters this text

from __future__ import annotations

from types import MappingProxyType
from typing import Final

_OUTCOMES: Final = """
    count(*) AS people,
    sum(CASE WHEN v.grav = 1 THEN 1 ELSE 0 END) AS unharmed,
    sum(CASE WHEN v.grav = 4 THEN 1 ELSE 0 END) AS slightly_injured,
    sum(CASE WHEN v.grav = 3 THEN 1 ELSE 0 END) AS hospitalised,
    sum(CASE WHEN v.grav = 2 THEN 1 ELSE 0 END) AS killed,
    1.0 * sum(CASE WHEN v.grav IN (2, 3) THEN 1 ELSE 0 END) / count(*) AS grave_share
"""
_JOINED: Final = 'FROM victims v JOIN accidents a ON a."Num_Acc" = v."Num_Acc"'

VIEWS: Final = MappingProxyType(
    {
        "accident_outcomes_by_month": f"""
            SELECT a.an, a.mois, count(DISTINCT a."Num_Acc") AS accidents, {_OUTCOMES}
            {_JOINED} GROUP BY a.an, a.mois
        """,
        "accident_outcomes_by_department": f"""
            SELECT a.an, a.dep, count(DISTINCT a."Num_Acc") AS accidents, {_OUTCOMES}
            {_JOINED} GROUP BY a.an, a.dep
        """,
        "accident_outcomes_by_hour": f"""
            SELECT a.an, a.hrmn / 100 AS hour, count(DISTINCT a."Num_Acc") AS accidents, {_OUTCOMES}
            {_JOINED} WHERE a.hrmn IS NOT NULL GROUP BY a.an, a.hrmn / 100
        """,
        "accident_outcomes_by_light": f"""
            SELECT a.an, a.lum, c.en AS light, {_OUTCOMES}
            {_JOINED} LEFT JOIN codebook c ON c.field = 'lum' AND c.code = a.lum GROUP BY a.an, a.lum, c.en
        """,
        "accident_outcomes_by_vehicle": f"""
            SELECT v.an, v.catv, c.en AS vehicle, {_OUTCOMES}
            FROM victims v LEFT JOIN codebook c ON c.field = 'catv' AND c.code = v.catv
            GROUP BY v.an, v.catv, c.en
        """,
        "accident_outcomes_by_user": f"""
            SELECT v.an, v.catu, c.en AS road_user, {_OUTCOMES}
            FROM victims v LEFT JOIN codebook c ON c.field = 'catu' AND c.code = v.catu
            GROUP BY v.an, v.catu, c.en
        """,
        "accident_outcomes_by_road": f"""
            SELECT v.an, p.catr, c.en AS road, {_OUTCOMES}
            FROM victims v
            JOIN places p ON p."Num_Acc" = v."Num_Acc" AND p.principal
            LEFT JOIN codebook c ON c.field = 'catr' AND c.code = p.catr
            GROUP BY v.an, p.catr, c.en
        """,
        "accident_map": """
            SELECT a."Num_Acc", a.an, a.mois, a.dep, a.lat, a.long,
                count(*) AS people,
                sum(CASE WHEN v.grav = 2 THEN 1 ELSE 0 END) AS killed,
                sum(CASE WHEN v.grav = 3 THEN 1 ELSE 0 END) AS hospitalised
            FROM accidents a JOIN victims v ON v."Num_Acc" = a."Num_Acc"
            WHERE a.lat IS NOT NULL
            GROUP BY a."Num_Acc", a.an, a.mois, a.dep, a.lat, a.long
        """,
        "quarantine_by_rule": """
            SELECT an, source_table, rule, disposition, column_name, count(*) AS notes
            FROM quarantine GROUP BY an, source_table, rule, disposition, column_name
        """,
    }
)
