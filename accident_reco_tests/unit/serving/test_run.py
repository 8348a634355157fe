"""What a process of a service sets before it serves."""

from __future__ import annotations

import sys

import pytest

from serving.common.run import SWITCH_SECONDS, ServiceConfig


def test_background_threads_give_way() -> None:
    """The process that serves, which may be a worker, lets no thread keep the interpreter from its requests."""

    async def app(*_: object) -> None:
        """Serves nothing."""

    before = sys.getswitchinterval()
    try:
        ServiceConfig(lambda: app, factory=True, log_config=None).load()
        assert sys.getswitchinterval() == pytest.approx(SWITCH_SECONDS, rel=0.01)
        assert sys.getswitchinterval() < before
    finally:
        sys.setswitchinterval(before)
