"""Fixtures of the service tests: a running auth service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from accident_reco_tests.support.accounts import PASSWORD, Auth, running_auth


@pytest.fixture(scope="module")
def auth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Auth]:
    """The auth service on a new home, with the user ada beside the admin."""
    with running_auth(tmp_path_factory.mktemp("auth")) as running:
        running.add_user("ada", PASSWORD)
        yield running
