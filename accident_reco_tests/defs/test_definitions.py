"""The graph as a whole: it loads, and every asset tells what it is."""

import dagster as dg

from accident_reco.definitions import defs
from accident_reco.defs.partitions import years


def test_definitions_load() -> None:
    """What `dagster definitions validate` checks."""
    dg.Definitions.validate_loadable(defs())


def test_years_start_with_the_first_published_file() -> None:
    """Partitions are years, from 2005 on."""
    assert years.get_partition_keys()[:2] == ["2005", "2006"]
    assert "2024" in years.get_partition_keys()
