"""Signed links to drift reports: valid for one report and one time, and for nobody's own signature."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import pytest

from accident_reco.drift.report_links import MAX_LIFETIME, build_link, find_link_problem, sign

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
REPORT = "a" * 32


def build_query(hours: float = 1, secret: str = "secret") -> dict[str, str]:
    """Parameters of a link for `REPORT`."""
    url = build_link("http://drift:8001/", secret, "accidents", REPORT, NOW + timedelta(hours=hours))
    parts = urlsplit(url)
    assert (parts.netloc, parts.path) == ("drift:8001", "/monitoring/drift/accidents/report")
    return dict(parse_qsl(parts.query))


def test_a_link_is_valid_until_it_expires() -> None:
    """To the second."""
    query = build_query()
    expiry = NOW + timedelta(hours=1)
    assert find_link_problem("secret", "accidents", query, NOW) is None
    assert find_link_problem("secret", "accidents", query, expiry - timedelta(seconds=1)) is None
    assert find_link_problem("secret", "accidents", query, expiry) == "the link has expired"


@pytest.mark.parametrize(
    "changed",
    [
        {"id": "b" * 32},
        {"expires": str(int((NOW + timedelta(hours=2)).timestamp()))},
        {"signature": "0" * 64},
        {"signature": ""},
        {"signature": "é\ud800"},
        {"id": REPORT + "\n1"},
    ],
    ids=lambda changed: "-".join(changed),
)
def test_a_changed_link_is_not_valid(changed: dict[str, str]) -> None:
    """Another report, a later expiry, another signature, parts that run into each other."""
    assert find_link_problem("secret", "accidents", build_query() | changed, NOW) == "the signature is not valid"


def test_a_link_is_bound_to_model_and_secret() -> None:
    """The same parameters under another model's path, or from whoever has another secret."""
    assert find_link_problem("secret", "movies", build_query(), NOW) == "the signature is not valid"
    assert find_link_problem("other", "accidents", build_query(), NOW) == "the signature is not valid"


@pytest.mark.parametrize(
    ("expires", "problem"),
    [
        (str(int((NOW + MAX_LIFETIME).timestamp()) + 1), "the link is valid for too long"),
        ("1e12", "the time of expiry is not valid"),
        ("-1", "the time of expiry is not valid"),
        ("9" * 13, "the time of expiry is not valid"),
        ("", "the time of expiry is not valid"),
    ],
)
def test_expiry_is_bounded_even_where_it_is_signed(expires: str, problem: str) -> None:
    """A process with the secret and a wrong clock or setting makes no link for ever."""
    query = {"id": REPORT, "expires": expires, "signature": sign("secret", "accidents", REPORT, expires)}
    assert find_link_problem("secret", "accidents", query, NOW) == problem
