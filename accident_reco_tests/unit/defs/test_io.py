"""Frames of a step: read from the store at every access, and kept by their user alone."""

import gc
import io
import weakref

import dagster as dg
import pandas as pd
import pytest

from accident_reco.defs.io import StoredFrames
from accident_reco.storage.frames import write_parquet
from accident_reco.storage.objects import ObjectNotFound, open_store


def test_a_frame_is_read_anew_and_freed_with_its_last_reference(tmp_path):
    """Two frames of a gigabyte are never in memory together if a training drops one before it asks for the other."""
    store, stream = open_store(str(tmp_path)), io.BytesIO()
    write_parquet(pd.DataFrame({"row": [1, 2]}), stream)
    store.write("assets/some/rows/all.parquet", stream.getvalue())
    frames = StoredFrames(store, {"rows": dg.AssetKey(["some", "rows"]), "none": dg.AssetKey(["some", "none"])})
    assert list(frames) == ["rows", "none"]
    first = frames["rows"]
    assert first["row"].tolist() == [1, 2]
    assert frames["rows"] is not first
    held = weakref.ref(first)
    del first
    gc.collect()
    assert held() is None
    with pytest.raises(ObjectNotFound):
        frames["none"]
