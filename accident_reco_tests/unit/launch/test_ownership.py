"""Claiming what an installation writes to, without servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from accident_reco.launch import ownership
from accident_reco.settings import Settings
from accident_reco.storage.objects import StoreError


@pytest.mark.parametrize("url", ["ftp://host/x", "s3:///no-bucket"])
def test_an_invalid_store_is_reported_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """A store that starts at the same time is waited for; one that can never answer is not."""

    def sleep(seconds: float) -> None:
        raise AssertionError(f"waited {seconds} s")

    monkeypatch.setattr(ownership.time, "sleep", sleep)
    with pytest.raises(StoreError, match=url):
        ownership.claim(Settings.load(home=tmp_path, store_url=url))
