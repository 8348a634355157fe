"""Small BAAC files for tests: two accidents of 2023 in the layout since 2019, any cell replaceable."""

from __future__ import annotations

from accident_reco.models.accidents.data.victims import RawFile, TableCount

# Data tables: the formatter would write one cell per line.
# fmt: off
CARACT = [
    {"Num_Acc": "202300000001", "jour": "7", "mois": "05", "an": "2023", "hrmn": "06:00", "lum": "1", "dep": "75",
     "com": "75101", "agg": "2", "int": "2", "atm": "2", "col": "3", "adr": "RUE DE RIVOLI", "lat": "48,86638600",
     "long": "2,32347100"},
    {"Num_Acc": "202300000002", "jour": "12", "mois": "11", "an": "2023", "hrmn": "18:05", "lum": "5", "dep": "974",
     "com": "97411", "agg": "1", "int": "1", "atm": "1", "col": "6", "adr": "N/A", "lat": " -20,90000000",
     "long": "55,50000000"},
]
LIEUX = [
    {"Num_Acc": "202300000001", "catr": "4", "voie": "RUE DE RIVOLI", "v1": "0", "v2": "N/A", "circ": "1", "nbv": "1",
     "vosp": "0", "prof": "1", "pr": " -1", "pr1": " -1", "plan": "1", "lartpc": "", "larrout": " -1", "surf": "2",
     "infra": "0", "situ": "1", "vma": "30"},
    {"Num_Acc": "202300000001", "catr": "3", "voie": "7", "v1": "0", "v2": "N/A", "circ": "2", "nbv": "2", "vosp": "0",
     "prof": "1", "pr": "2", "pr1": "2\u00a0218", "plan": "1", "lartpc": "", "larrout": "5,5", "surf": "2",
     "infra": "0", "situ": "1", "vma": "50"},
    {"Num_Acc": "202300000002", "catr": "2", "voie": "N1", "v1": "0", "v2": "N/A", "circ": "2", "nbv": "4", "vosp": "0",
     "prof": "1", "pr": "12", "pr1": "0", "plan": "2", "lartpc": "2,5", "larrout": "14", "surf": "1", "infra": "0",
     "situ": "1", "vma": "90"},
]
VEHICULES = [
    {"Num_Acc": "202300000001", "id_vehicule": "155\u00a0680\u00a0557", "num_veh": "A01", "senc": "1", "catv": "30",
     "obs": "0", "obsm": "2", "choc": "1", "manv": "1", "motor": "1", "occutc": ""},
    {"Num_Acc": "202300000001", "id_vehicule": "155\u00a0680\u00a0558", "num_veh": "B01", "senc": "1", "catv": "7",
     "obs": "0", "obsm": "2", "choc": "3", "manv": "1", "motor": "1", "occutc": ""},
    {"Num_Acc": "202300000002", "id_vehicule": "155\u00a0680\u00a0560", "num_veh": "A01", "senc": "2", "catv": "37",
     "obs": "0", "obsm": "1", "choc": "1", "manv": "2", "motor": "1", "occutc": "12"},
]
USAGERS = [
    {"Num_Acc": "202300000001", "id_usager": "203\u00a0851\u00a0184", "id_vehicule": "155\u00a0680\u00a0557",
     "num_veh": "A01", "place": "1", "catu": "1", "grav": "4", "sexe": "1", "an_nais": "1978", "trajet": "5",
     "secu1": "2", "secu2": "6", "secu3": " -1", "locp": " -1", "actp": " -1", "etatp": " -1"},
    {"Num_Acc": "202300000001", "id_usager": "203\u00a0851\u00a0185", "id_vehicule": "155\u00a0680\u00a0558",
     "num_veh": "B01", "place": "1", "catu": "1", "grav": "1", "sexe": " -1", "an_nais": "", "trajet": "0",
     "secu1": "8", "secu2": " -1", "secu3": " -1", "locp": "0", "actp": "0", "etatp": " -1"},
    {"Num_Acc": "202300000002", "id_usager": "203\u00a0851\u00a0190", "id_vehicule": "155\u00a0680\u00a0560",
     "num_veh": "A01", "place": "1", "catu": "1", "grav": "1", "sexe": "2", "an_nais": "1990", "trajet": "4",
     "secu1": "1", "secu2": "0", "secu3": " -1", "locp": "0", "actp": "0", "etatp": " -1"},
    {"Num_Acc": "202300000002", "id_usager": "203\u00a0851\u00a0191", "id_vehicule": "155\u00a0680\u00a0560",
     "num_veh": "A01", "place": "10", "catu": "3", "grav": "3", "sexe": "2", "an_nais": "2015", "trajet": "2",
     "secu1": "0", "secu2": "0", "secu3": " -1", "locp": "3", "actp": "A", "etatp": "1"},
]
# fmt: on
NAMES = {"caracteristiques": "caract", "lieux": "lieux", "vehicules": "vehicules", "usagers": "usagers"}
ROWS = {"caracteristiques": CARACT, "lieux": LIEUX, "vehicules": VEHICULES, "usagers": USAGERS}

Change = dict[tuple[str, int, str], str]


def text(rows: list[dict[str, str]]) -> str:
    """Rows as the publisher writes them since 2019: `;`, everything quoted, no final newline."""
    lines = [rows[0].keys(), *(row.values() for row in rows)]
    return "\n".join(";".join(f'"{cell}"' for cell in line) for line in lines)


def year(change: Change | None = None, **replaced: bytes) -> dict[str, RawFile]:
    """The four files of 2023; `change` maps (table, row, column) to a cell, `replaced` gives a table's bytes."""
    files = {}
    for table, rows in ROWS.items():
        rows = [dict(row) for row in rows]
        for (changed, row, column), cell in (change or {}).items():
            if changed == table:
                rows[row][column] = cell
        data = replaced.get(table, text(rows).encode())
        files[table] = RawFile(f"{NAMES[table]}-2023.csv", data)
    return files


def is_balanced(count: TableCount) -> bool:
    """Whether every row of a table is either read or refused."""
    return count.rows_in == count.rows_out + count.refused
