"""Environments of peers."""

from __future__ import annotations

from pathlib import Path

import pytest

from accident_reco_tests.bench.peers import PEERS, PROGRAMS, Peer, PeerMissing, install
from accident_reco_tests.bench.servers import MODEL_SERVERS

FORBIDDEN = ("AGPL", "GPL", "SSPL", "BUSL")


def test_licences_are_permissive() -> None:
    """No peer has a licence that the platform does not accept."""
    assert [peer.name for peer in PEERS if any(word in peer.licence for word in FORBIDDEN)] == []
    assert {peer for peer, _ in MODEL_SERVERS.values()} <= set(PEERS)


def test_documentation_names_every_peer() -> None:
    """With version and licence."""
    page = (Path(__file__).parents[3] / "docs/pages/results/benchmarks.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("|")]
    for peer in PEERS:
        named = (peer.name, peer.package.partition("==")[2], peer.licence)
        assert any(all(part in row for part in named) for row in rows), peer.title


def test_versions_are_fixed() -> None:
    """Figures name a version, so that it is the installed one."""
    assert [peer.name for peer in PEERS if "==" not in peer.package] == []


def test_peer_that_cannot_be_installed_is_reported(tmp_path: Path) -> None:
    """Here a package that is a missing file. Nothing is left that a later run would take for complete."""
    absent = Peer("absent", f"absent @ {(tmp_path / 'absent-1.0-py3-none-any.whl').as_uri()}", "MIT")
    with pytest.raises(PeerMissing, match="absent"):
        install(absent, tmp_path / "peers")
    assert not list((tmp_path / "peers").glob("*/complete"))


def test_environment_is_made_once(tmp_path: Path) -> None:
    """A complete environment is used as it is: no uv, no network."""
    import hashlib
    import sys

    peer = Peer("kept", "kept==1", "MIT")
    key = hashlib.sha256("\n".join((sys.version, *peer.requirements)).encode()).hexdigest()[:12]
    home = tmp_path / f"kept-{key}"
    home.mkdir()
    (home / "complete").touch()
    assert install(peer, tmp_path) == home / "bin" / "python"


def test_programs_of_peers_compile() -> None:
    """They run in environments that the tests do not have."""
    for path in PROGRAMS.glob("*.py"):
        compile(path.read_text(encoding="utf-8"), str(path), "exec")
