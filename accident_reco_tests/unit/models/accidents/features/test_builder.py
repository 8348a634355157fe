"""The one feature builder: the same row for training and serving, and unknown is never zero."""

import json
from datetime import date

import holidays
import numpy as np
import pytest

from accident_reco.models.accidents.features.builder import (
    CODES,
    FLOAT_COLUMNS,
    TEXT_COLUMNS,
    FeatureSpec,
    build_features,
)
from accident_reco.models.accidents.features.calendar import (
    FIRST_YEAR,
    LAST_YEAR,
    build_day_table,
    find_day_slots,
    get_public_holidays,
)


def _columns(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Plausible raw columns with unknowns in every one of them."""
    rng = np.random.default_rng(seed)
    ranges = {
        "an_nais": (1930, 2020),
        "driver_an_nais": (1930, 2005),
        "other_an_nais": (1930, 2005),
        "an": (2019, 2025),
        "mois": (1, 13),
        "jour": (1, 32),
        "hrmn": (0, 2360),
        "vma": (5, 900),
        "catv": (0, 100),
    }
    columns: dict[str, np.ndarray] = {}
    for name in FeatureSpec(feature_set="full").columns:
        if name in FLOAT_COLUMNS:
            columns[name] = np.where(rng.random(n) < 0.1, np.nan, rng.uniform(42, 50, n))
        elif name in TEXT_COLUMNS:
            choice = np.array(["75", "2A", "974", None] if name == "dep" else ["75056", "2A004", "97411", None])
            columns[name] = choice[rng.integers(0, 4, n)]
        else:
            low, high = ranges.get(name, (0, 10))
            columns[name] = np.where(rng.random(n) < 0.1, -1, rng.integers(low, high, n)).astype(np.int32)
    columns["Num_Acc"] = np.sort(rng.integers(0, n // 2 + 1, n))
    return columns


@pytest.mark.parametrize("feature_set", CODES)
def test_every_row_alone_equals_the_batch(feature_set):
    """A million rows or one: the builder must not know the difference, to the bit."""
    columns = _columns(300)
    spec = FeatureSpec.from_json(FeatureSpec.learn(columns, feature_set).to_json())
    whole = build_features(columns, spec)
    assert whole.dtype == np.float32
    assert whole.shape == (300, len(spec.names))
    assert whole.flags.c_contiguous
    for row in range(300):
        alone = build_features({name: column[row : row + 1] for name, column in columns.items()}, spec)
        assert alone.tobytes() == whole[row : row + 1].tobytes(), row


def test_narrow_integers_give_the_same_features():
    """The yearly files are kept in 16 bits, requests come in 64: nothing may overflow on the way."""
    columns = _columns(200)
    spec = FeatureSpec.learn(columns)
    narrow = {k: v.astype(np.int16) if v.dtype.kind == "i" and k != "Num_Acc" else v for k, v in columns.items()}
    np.testing.assert_array_equal(build_features(narrow, spec), build_features(columns, spec))


def test_absent_column_is_unknown_everywhere():
    """Leaving a field out and sending -1 (None, NaN) for it are the same request."""
    columns = _columns(50)
    spec = FeatureSpec.learn(columns)
    for name in spec.columns:
        void = np.full(50, None if name in TEXT_COLUMNS else np.nan if name in FLOAT_COLUMNS else -1)
        given = build_features({**columns, name: void}, spec)
        absent = build_features({key: value for key, value in columns.items() if key != name}, spec)
        np.testing.assert_array_equal(given, absent, err_msg=name)


def test_nothing_known_gives_nothing_but_nan():
    """A record without any field must not turn into a newborn at midnight in department 0."""
    spec = FeatureSpec.learn(_columns(50))
    assert np.isnan(build_features({"catu": np.array([-1])}, spec)).all()


def test_derived_features_of_a_pedestrian_hit_by_a_lorry():
    """For a pedestrian the vehicle is the opponent; momentum makes it take nearly the whole speed."""
    spec = FeatureSpec(year=2024)
    record = {
        "catu": 3,
        "catv": 14,
        "an": -1,
        "an_nais": 1950,
        "hrmn": 1830,
        "vma": 50,
        "secu1": 0,
        "mois": 7,
        "jour": 14,
    }
    row = build_features({name: np.array([value]) for name, value in record.items()}, spec)[0]
    value = dict(zip(spec.names, row.tolist(), strict=True))
    assert value["age"] == 74
    assert value["hour"] == 18.5
    assert value["weekday"] == date(2024, 7, 14).weekday()
    assert value["day_type"] == 2
    assert value["opponent"] == 11
    assert 49 < value["speed_change"] < 50
    assert (value["unequipped"], value["belt"]) == (1, 0)


def test_impossible_speed_limits_are_unknown():
    """The files hold limits of up to 900 km/h."""
    spec = FeatureSpec()
    rows = build_features({"vma": np.array([900, 130, 3, -1])}, spec)
    assert np.isnan(rows[:, spec.position["speed_limit"]]).tolist() == [True, False, True, True]


def test_a_commune_seen_once_looks_new_in_training():
    """Counting a training row's own accident would tell the model which rows it was trained on."""
    columns = {
        "Num_Acc": np.array([1, 2, 2]),
        "com": np.array(["01001", "75056", "75056"]),
        "an": np.full(3, 2023),
        "lat": np.full(3, 47.0),
        "long": np.full(3, 2.0),
    }
    spec = FeatureSpec.learn(columns)
    place = spec.position["commune_accidents"]
    assert build_features(columns, spec, training_rows=True)[:, place].tolist() == [0, 0, 0]
    assert build_features(columns, spec)[:, place].tolist() == [50_000] * 3


def test_accidents_around_a_place_are_counted_in_three_sizes_without_the_own_one():
    """280 m, 1.1 km and 5.6 km apart by latitude; the fourth is far away, and the fifth has no coordinates."""
    lat = np.array([47.0, 47.0030, 47.0120, 47.0600, 49.0, np.nan])
    columns = {
        "Num_Acc": np.arange(6),
        "an": np.full(6, 2023),
        "lat": lat,
        "long": np.array([2.0, 2.0, 2.0, 2.0, 2.0, 2.0]),
    }
    spec = FeatureSpec.from_json(FeatureSpec.learn(columns).to_json())
    around = [spec.position[f"accidents_{how}"] for how in ("here", "near", "around")]
    per = 1e5 / 6
    seen = build_features(columns, spec, training_rows=True)[:, around] / per
    np.testing.assert_allclose(seen[[0, 4]], [[1, 2, 3], [0, 0, 0]], rtol=1e-6)
    assert np.isnan(seen[5]).all()
    asked = build_features({"lat": np.array([47.0, 46.9, 999.0]), "long": np.full(3, 2.0)}, spec)[:, around] / per
    np.testing.assert_allclose(asked, [[2, 3, 4], [0, 0, 0], [np.nan] * 3], rtol=1e-6)


def test_squares_at_the_edge_of_the_globe_do_not_meet_others():
    """The date line and the poles are places too; nothing of the other side is counted, nothing fails."""
    columns = {
        "Num_Acc": np.arange(3),
        "an": np.full(3, 2023),
        "lat": np.array([-90.0, 90.0, 0.0]),
        "long": np.array([-180.0, 180.0, 180.0]),
    }
    spec = FeatureSpec.learn(columns)
    assert build_features(columns, spec, training_rows=True)[:, spec.position["accidents_around"]].tolist() == [0, 0, 0]


def test_unknown_coordinates_fall_back_to_commune_then_department():
    """A caller who knows the town but no coordinates still says where it happened."""
    columns = {
        "Num_Acc": np.array([1, 2]),
        "com": np.array(["01001", "01002"]),
        "dep": np.array(["01", "01"]),
        "an": np.full(2, 2023),
        "lat": np.array([46.0, 48.0]),
        "long": np.array([2.0, 4.0]),
    }
    spec = FeatureSpec.learn(columns)
    ask = {"com": np.array(["01002", "01999", None]), "dep": np.array(["01", "01", "99"])}
    lat = build_features(ask, spec)[:, spec.position["lat"]]
    np.testing.assert_array_equal(lat, [48.0, 47.0, np.nan])


def test_other_features_than_this_code_builds_are_refused():
    """A bundle of another code version must not be answered with misplaced columns."""
    content = FeatureSpec().to_json().replace(b'"day_type"', b'"day_kind"')
    with pytest.raises(ValueError, match="retrain"):
        FeatureSpec.from_json(content)


def test_a_model_that_knew_fewer_features_still_gets_its_own():
    """A champion of before an update is compared with, served, and rolled back to by the code of after it."""
    columns = _columns(100)
    document = json.loads(FeatureSpec.learn(columns).to_json())
    newer = ("to_northeast", "to_northwest", "accidents_here", "accidents_near", "accidents_around")
    document["names"] = [name for name in document["names"] if name not in newer]
    del document["cells"]
    old, new = FeatureSpec.from_json(json.dumps(document).encode()), FeatureSpec.learn(columns)
    assert old.names == tuple(document["names"])
    whole = build_features(columns, new)[:, [new.position[name] for name in old.names]]
    np.testing.assert_array_equal(build_features(columns, old), whole)
    assert FeatureSpec.from_json(old.to_json()).names == old.names


def test_calendar_agrees_with_the_holidays_package():
    """Our table against an independent source. In 2005-2007 Whit Monday was worked in theory, by few in practice."""
    for year in (*range(FIRST_YEAR, 2005), *range(2008, LAST_YEAR + 1)):
        assert get_public_holidays(year) == frozenset(holidays.France(years=year)), year


def test_days_that_do_not_exist_are_unknown():
    """31 February, month 13, year 99: unknown, not the next cell of the table."""
    an, mois, jour = np.array([2023, 2023, 99, 2024, 2024]), np.array([2, 13, 1, 2, -1]), np.array([31, 1, 1, 29, 4])
    weekday = build_day_table()[0, find_day_slots(an, mois, jour)]
    assert np.isnan(weekday).tolist() == [True, True, True, False, True]
    assert weekday[3] == date(2024, 2, 29).weekday()
