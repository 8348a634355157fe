"""What protects the pages: origins, redirects, sealed tokens."""

import pytest

from serving.console import sealing
from serving.console.protection import clean_target, find_foreign_origin, is_csrf_token, is_lost_to_strict

HOST = {"host": "console.example:8002"}


@pytest.mark.parametrize(
    ("headers", "is_foreign"),
    [
        ({}, False),  # a program
        ({"sec-fetch-site": "same-origin"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "same-site"}, True),  # another port of the host is another program
        ({"sec-fetch-site": "cross-site"}, True),
        ({"sec-fetch-site": "", "origin": "http://console.example:8002"}, True),
        ({"origin": "http://console.example:8002"}, False),
        ({"origin": "https://console.example:8002"}, False),  # a proxy ended HTTPS
        ({"origin": "http://console.example"}, True),
        ({"origin": "http://console.example:8002.evil.example"}, True),
        ({"origin": "null"}, True),
        ({"origin": ""}, True),
    ],
)
def test_changes_come_from_pages_of_the_console(headers: dict[str, str], is_foreign: bool) -> None:
    """A browser's own headers decide; without them the CSRF token does."""
    assert (find_foreign_origin(HOST | headers) is not None) == is_foreign


@pytest.mark.parametrize(
    ("target", "cleaned"),
    [
        ("/", "/"),
        ("/m/accidents?a=1&b=%2F", "/m/accidents?a=1&b=%2F"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/a\\b", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\r\nSet-Cookie: x", "/"),
        ("/\t/evil.example", "/"),
        ("", "/"),
        ("/" + "a" * 4_000, "/"),
    ],
)
def test_redirects_stay_here(target: str, cleaned: str) -> None:
    """A link with `next` leads to no other host and injects no header."""
    assert clean_target(target) == cleaned


def test_a_link_of_another_site_is_told_from_a_visit() -> None:
    """Only a navigation: a page that loads itself again does so once."""
    assert is_lost_to_strict({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"})
    assert not is_lost_to_strict({"sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate"})
    assert not is_lost_to_strict({"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"})


def test_tokens_are_sealed_for_one_session() -> None:
    """The row of another session, a changed row and no row at all open to nothing; equal tokens look different."""
    one, other = sealing.new_secret(), sealing.new_secret()
    tokens = {"access": "a.b.c", "refresh": "r"}
    sealed = sealing.seal(one, tokens)
    assert sealing.unseal(one, sealed) == tokens
    assert sealed != sealing.seal(one, tokens)
    assert sealing.unseal(other, sealed) is None
    changed = ("A" if sealed[0] != "A" else "B") + sealed[1:]
    for wrong in (changed, sealed[:-4], "", "no base64 ä"):
        assert sealing.unseal(one, wrong) is None


def test_nothing_stored_leads_back_to_the_cookie() -> None:
    """Id, CSRF token and sealing key are different, and none contains the cookie."""
    secret = sealing.new_secret()
    found = {sealing.derive_id(secret), sealing.derive_csrf_token(secret)}
    assert len(found) == 2
    assert not any(secret in each for each in found)
    assert is_csrf_token(sealing.derive_csrf_token(secret), sealing.derive_csrf_token(secret))
    assert not is_csrf_token("", sealing.derive_csrf_token(secret))
    assert not is_csrf_token("ä", sealing.derive_csrf_token(secret))
