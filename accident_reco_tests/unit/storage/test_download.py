"""Downloads: what is refused, what is tried again, what is cut off. Against a real server on the loopback."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from accident_reco.storage.download import Downloader, DownloadError
from accident_reco_tests.support.web import Site, body, redirect, serve


@pytest.fixture
def site() -> Iterator[Site]:
    with serve() as made:
        yield made


def _downloader(site: Site, waits: list[float] | None = None, **options: object) -> Downloader:
    sleep = (waits if waits is not None else []).append
    return Downloader(**{"trusted": {site.host}, "sleep": sleep, "read_timeout_s": 0.3, **options})  # type: ignore[arg-type]


def test_body_with_its_hash(site: Site) -> None:
    """A body arrives whole, rewound, with its sha256."""
    data = b"x" * 3_000_000
    site.answers["/a.csv"] = body(data)
    seen: list[int] = []
    got = _downloader(site, progress=lambda _url, size, _all: seen.append(size)).get(site.url("/a.csv"))
    assert got.stream.read() == data
    assert (got.sha256, got.size) == (hashlib.sha256(data).hexdigest(), 3_000_000)
    assert seen[-1] == 3_000_000
    got.stream.close()


def test_overloaded_server_is_tried_again_with_growing_waits(site: Site) -> None:
    """503, then 429 with Retry-After, then an answer."""
    site.answers["/a"] = [body(b"", 503), body(b"", 429, Retry_After="7"), body(b"", 500), body(b"fine")]
    waits: list[float] = []
    with _downloader(site, waits).get(site.url("/a")).stream as stream:
        assert stream.read() == b"fine"
    assert waits == [1.0, 7.0, 4.0]


def test_gives_up_and_says_how_often(site: Site) -> None:
    """A server that stays broken ends in one message."""
    site.answers["/a"] = body(b"", 502)
    with pytest.raises(DownloadError, match=r"/a: answered 502 \(tried 4 times\)"):
        _downloader(site).get(site.url("/a"))
    assert len(site.asked) == 4


def test_missing_page_is_not_tried_again(site: Site) -> None:
    """404 is an answer, not a failure of the network."""
    with pytest.raises(DownloadError, match="answered 404"):
        _downloader(site).get(site.url("/nowhere"))
    assert len(site.asked) == 1


def test_truncated_body_is_tried_again(site: Site) -> None:
    """A connection that ends before the announced length never counts as a file."""

    def cut(request: BaseHTTPRequestHandler) -> None:
        body(b"half of it", length="100")(request)
        request.close_connection = True

    site.answers["/a"] = [cut, body(b"all of it")]
    with _downloader(site).get(site.url("/a")).stream as stream:
        assert stream.read() == b"all of it"


def test_silent_server_is_left(site: Site) -> None:
    """A server that answers nothing is left after the read timeout, each time."""
    site.answers["/a"] = lambda request: site.stop.wait(20) and None
    with pytest.raises(DownloadError, match=r"no response within 0.3 s \(tried 2 times\)"):
        _downloader(site, attempts=2).get(site.url("/a"))


def test_dripping_server_is_cut_off(site: Site) -> None:
    """A byte now and then keeps every read timeout happy; the total time does not care."""

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not site.stop.wait(0.05):
            request.wfile.write(b".")

    site.answers["/a"] = drip
    with pytest.raises(DownloadError, match=r"not finished after 0.5 s \(\d+ bytes so far\)"):
        _downloader(site, timeout_s=0.5).get(site.url("/a"))


def test_endless_body_is_cut_off(site: Site) -> None:
    """A body without end stops at the cap; an announced one is not even begun."""

    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not site.stop.is_set():
            request.wfile.write(b"x" * 65536)

    site.answers["/a"] = endless
    with pytest.raises(DownloadError, match="more than 1,000,000 bytes, the cap"):
        _downloader(site, max_bytes=1_000_000).get(site.url("/a"))
    site.answers["/b"] = body(b"x", length="9999999999")
    with pytest.raises(DownloadError, match="9,999,999,999 bytes announced, the cap is 1,000,000"):
        _downloader(site, max_bytes=1_000_000).get(site.url("/b"))


def test_wrong_checksum_is_tried_again(site: Site) -> None:
    """A body that is not what was published is fetched again, then refused."""
    site.answers["/a"] = body(b"tampered")
    with pytest.raises(DownloadError, match="not the published one"):
        _downloader(site).get(site.url("/a"), lambda _: "not the published one")
    assert len(site.asked) == 4


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("http://127.0.0.1:1/", "only https is followed here"),
        ("https://localhost/secret", "localhost is not an allowed host"),
        ("https://data.gouv.fr.evil.example/", "is not an allowed host"),
        ("https://evildata.gouv.fr/", "is not an allowed host"),
        ("file:///etc/passwd", "only http and https addresses are followed"),
        ("https://[::1]/", "is not an allowed host"),
        ("https://static.data.gouv.fr/", "resolves to 127.0.0.1, which is not a public address"),
    ],
)
def test_redirects_go_through_the_same_door(site: Site, target: str, why: str) -> None:
    """A trusted server that sends us elsewhere cannot reach the loopback, a file, or a look-alike host."""
    site.answers["/a"] = redirect(target)
    downloader = _downloader(site, allowed=("data.gouv.fr",), resolver=lambda host, port: ["127.0.0.1"])
    with pytest.raises(DownloadError, match=why):
        downloader.get(site.url("/a"))
    assert site.asked == ["/a"]


@pytest.mark.parametrize(
    "address", ["10.0.0.8", "192.168.1.1", "169.254.169.254", "::1", "fd00::1", "0.0.0.0", "::ffff:127.0.0.1"]
)
def test_names_that_resolve_inside_are_refused(address: str) -> None:
    """An allowed name that points into a private network (metadata service, router, loopback) is refused."""
    downloader = Downloader(allowed=("data.gouv.fr",), resolver=lambda host, port: ["93.184.215.14", address])
    with pytest.raises(DownloadError, match="which is not a public address"):
        downloader.get("https://www.data.gouv.fr/api")


def test_redirects_without_end(site: Site) -> None:
    """A circle of redirects ends."""
    site.answers["/a"] = redirect("/a")
    with pytest.raises(DownloadError, match="more than 5 redirects"):
        _downloader(site).get(site.url("/a"))
