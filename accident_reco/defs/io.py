"""IO managers: frames as Parquet and trained candidates as files in the object store. The model store is not theirs."""

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import pandas as pd

from accident_reco.defs.links import describe_object
from accident_reco.defs.resources import Platform
from accident_reco.defs.table_schema import frame_schema
from accident_reco.lifecycle.bundle import Bundle, canonical_json, sha256
from accident_reco.storage.frames import read_parquet, write_parquet
from accident_reco.storage.objects import ObjectNotFound, ObjectStore


class FrameIOManager(dg.ConfigurableIOManager):
    """pandas frames as `assets/<key>/<partition>.parquet`; several partitions load as one frame, in order."""

    platform: dg.ResourceDependency[Platform]

    def handle_output(self, context: dg.OutputContext, obj: pd.DataFrame | dict[str, pd.DataFrame]) -> None:
        """Write a frame, or a frame per partition where one run covers several.

        Raises:
            TypeError: a run over several partitions returned a single frame.
        """
        if obj is None:
            return
        if isinstance(obj, pd.DataFrame):
            partitions = list(context.asset_partition_keys) if context.has_asset_partitions else ["all"]
            if len(partitions) > 1:
                raise TypeError(f"a run over {len(partitions)} partitions returns a dict of frames, one per partition")
            obj = {partitions[0]: obj}
        for partition, frame in obj.items():
            stream = io.BytesIO()
            write_parquet(frame, stream)
            stream.seek(0)
            self.platform.objects.write(_key(context.asset_key, partition), stream)
        # The rows of one partition are metadata of that partition: an asset over several adds its own.
        rows: dict[str, Any] = {"dagster/row_count": len(frame)} if len(obj) == 1 else {}
        if len(obj) == 1:
            rows |= describe_object(self.platform.settings, _key(context.asset_key, partition))
        context.add_output_metadata({**rows, "dagster/column_schema": frame_schema(frame)})

    def load_input(self, context: dg.InputContext) -> pd.DataFrame:
        """The upstream frame; of a partitioned asset the stored partitions that the run depends on, as one frame.

        Raises:
            dg.Failure: none of them is stored.
        """
        store = self.platform.objects
        if not context.has_asset_partitions:
            return read_frame(store, context.asset_key, "all")
        frames = []
        for partition in context.asset_partition_keys:
            try:
                frames.append(read_frame(store, context.asset_key, partition))
            except ObjectNotFound:
                context.log.info("%s has no partition %s yet", context.asset_key.to_user_string(), partition)
        if not frames:
            raise dg.Failure(f"{context.asset_key.to_user_string()} has no materialized partition; fix: ingest one")
        return pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]


def _key(asset: dg.AssetKey, partition: str) -> str:
    return f"assets/{'/'.join(asset.path)}/{partition}.parquet"


def read_frame(store: ObjectStore, asset: dg.AssetKey, partition: str) -> pd.DataFrame:
    """One stored frame. Raises ObjectNotFound."""
    with store.open(_key(asset, partition)) as stream:
        return read_parquet(stream)


class StoredFrames(Mapping[str, pd.DataFrame]):
    """Frames of unpartitioned assets, each read at every access.

    A step holds only the frames that it still uses; an input of Dagster stays in memory until the step ends.
    """

    def __init__(self, store: ObjectStore, assets: Mapping[str, dg.AssetKey]) -> None:
        self._store, self._assets = store, assets

    def __getitem__(self, name: str) -> pd.DataFrame:
        return read_frame(self._store, self._assets[name], "all")

    def __iter__(self) -> Iterator[str]:
        return iter(self._assets)

    def __len__(self) -> int:
        return len(self._assets)


class BundleIOManager(dg.ConfigurableIOManager):
    """Candidates: their files by version, then one document that names them, so that no incomplete one is read."""

    platform: dg.ResourceDependency[Platform]

    def handle_output(self, context: dg.OutputContext, obj: Bundle) -> None:
        """Write the files, then the document."""
        store = self.platform.objects
        base = f"assets/{'/'.join(context.asset_key.path)}"
        named = {name: sha256(data) for name, data in obj.files.items()}
        for name, data in obj.files.items():
            store.write(f"{base}/{obj.version}/{name}", data)
        named_parts = ("model", "signature", "metrics", "lineage", "history")
        parts: dict[str, Any] = {part: getattr(obj, part) for part in named_parts}
        store.write(f"{base}/candidate.json", canonical_json({**parts, "version": obj.version, "files": named}))
        context.add_output_metadata(describe_object(self.platform.settings, f"{base}/{obj.version}"))

    def load_input(self, context: dg.InputContext) -> Bundle:
        """The latest candidate.

        Raises:
            ValueError: its files are not those that were trained.
        """
        store = self.platform.objects
        base = f"assets/{'/'.join(context.asset_key.path)}"
        document = json.loads(store.read(f"{base}/candidate.json"))
        version = document.pop("version")
        files = {name: store.read(f"{base}/{version}/{name}") for name in document.pop("files")}
        bundle = Bundle(files=files, **document)
        if bundle.version != version:
            raise ValueError(f"{base}/{version} is not the candidate that was trained; train it again")
        return bundle
