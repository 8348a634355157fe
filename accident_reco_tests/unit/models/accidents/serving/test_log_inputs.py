"""What the prediction log keeps of a scored file's rows."""

from __future__ import annotations

import orjson

from accident_reco.models.accidents.serving.log_inputs import build_inputs
from accident_reco_tests.support.flat_files import CountingScorer, score_csv


def test_known_values_as_json() -> None:
    """Numbers, text with anything in it, ids as in the file, longitudes below zero; nothing for what is unknown."""
    data = (
        "Num_Acc;id_usager;num_veh;catu;catv;larrout;lat;long;dep;adr;hrmn\n"
        '202400000001;203\u00a0988;A01;1;7;6,5;44,8;-0,5;33;"Rue ""A\\B""\té";17:45\n'
        "202400000002;;A01;3;NA;-1;;;;;\n"
    )
    (scored,) = score_csv(data.encode(), CountingScorer())
    first, second = (orjson.loads(orjson.dumps(inputs)) for inputs in build_inputs(scored.rows))
    context = {name for name in first if name.startswith(("nb_", "other", "driver_", "vehicle_"))}
    assert {name: value for name, value in first.items() if name not in context} == {
        "Num_Acc": 202400000001,
        "id_usager": "203 988",
        "num_veh": "A01",
        "catu": 1,
        "catv": 7,
        "larrout": 6.5,
        "lat": 44.8,
        "long": -0.5,
        "dep": "33",
        "adr": 'Rue "A\\B"\té',
        "hrmn": 1745,
    }
    assert first["nb_users"] == 1
    assert {"Num_Acc", "num_veh", "catu"} <= second.keys()
    assert not {"id_usager", "catv", "larrout", "lat", "long", "dep", "adr", "hrmn"} & second.keys()


def test_nothing_known() -> None:
    """Rows of which nothing is known are empty objects, alone and between others."""
    for data, expected in ((b"catu;catv\n;\nNA;\n", [{}, {}]), (b"catu;catv\n;\n1;\n;\n", [{}, {"catu": 1}, {}])):
        (scored,) = score_csv(data, CountingScorer())
        assert [orjson.loads(orjson.dumps(inputs)) for inputs in build_inputs(scored.rows)] == expected
