"""Peers that break HTTP, on purpose or not: each ends in one DownloadError, within the time cap. Real sockets."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from accident_reco.models.accidents.sources.base import SourceError
from accident_reco.models.accidents.sources.official import SLUG, STABLE_IDS, OfficialSource
from accident_reco.storage.download import Downloader, DownloadError
from accident_reco_tests.support.web import Answer, Site, body, redirect, serve

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def site() -> Iterator[Site]:
    with serve() as made:
        yield made


def _downloader(site: Site, **options: object) -> Downloader:
    return Downloader(**{"trusted": {site.host}, "attempts": 1, "read_timeout_s": 5.0, **options})  # type: ignore[arg-type]


def raw(data: bytes) -> Answer:
    """Exactly these bytes, then the end of the connection."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(data)
        request.close_connection = True

    return answer


def dripped(site: Site, start: bytes, piece: bytes, pause_s: float = 0.02) -> Answer:
    """`start`, then `piece` again and again until the test ends; without a pause as fast as the peer takes it."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(start)
        while not site.stop.wait(pause_s):
            request.wfile.write(piece)

    return answer


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"", b"H"),
        (OK, b"X"),
        (OK + b"X-Header: ", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Trailer: x\r\n"),
        (OK + b"Content-Length: 1000000\r\n\r\n", b"."),
        (OK + b"\r\n", b"."),
        (OK + b"Content-Encoding: gzip\r\n\r\n" + b"\x1f\x8b\x08\x08\0\0\0\0\0\x03", b"x"),
    ],
    ids=[
        "no-status",
        "header-name",
        "header-value",
        "continue",
        "early-hints",
        "chunk-size",
        "chunk-extension",
        "trailers",
        "length",
        "until-close",
        "gzip",
    ],
)
def test_time_cap_covers_the_whole_exchange(site: Site, start: bytes, piece: bytes) -> None:
    """Each byte comes well within the read timeout; the exchange ends at the cap wherever in it the peer drips."""
    site.answers["/a"] = dripped(site, start, piece)
    began = time.monotonic()
    with pytest.raises(DownloadError, match=r"/a: not finished after 0\.4 s \([\d,]+ bytes so far\)"):
        _downloader(site, timeout_s=0.4).get(site.url("/a"))
    assert time.monotonic() - began < 3


def test_time_cap_covers_redirects_and_attempts(site: Site) -> None:
    """Slow redirects and slow failures share one cap; it does not start again with each of them."""

    def slowly(answer: Answer) -> Answer:
        def late(request: BaseHTTPRequestHandler) -> None:
            site.stop.wait(0.3)
            answer(request)

        return late

    site.answers["/a"] = slowly(redirect("/a"))
    site.answers["/b"] = slowly(body(b"", 503))
    for path in ("/a", "/b"):
        began = time.monotonic()
        with pytest.raises(DownloadError, match=r"not finished after 0\.7 s|answered 503"):
            _downloader(site, timeout_s=0.7, attempts=9, backoff_s=0.01).get(site.url(path))
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("piece", [b"HTTP/1.1 100 Continue\r\n\r\n" * 500, b"HTTP/1.1 103 x\r\nA: b\r\n\r\n" * 500])
def test_interim_responses_without_end_are_cut_off_by_their_bytes(site: Site, piece: bytes) -> None:
    """At full speed they would keep a core busy until the time cap; they count as bytes of the exchange."""
    site.answers["/a"] = dripped(site, b"", piece, pause_s=0)
    with pytest.raises(DownloadError, match="more than 1,050,576 bytes, framing included"):
        _downloader(site, max_bytes=1000).get(site.url("/a"))


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (raw(b"HTTP/1.1 302 Found\r\n\r\n"), "answered 302 without a Location"),
        (raw(b"HTTP/1.1 301 Moved\r\nLocation:\r\n\r\n"), "answered 301 without a Location"),
        (raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"), "answered 304"),
        (raw(b"HTTP/1.1 300 Choices\r\nContent-Length: 0\r\n\r\n"), "answered 300"),
        (raw(b"HTTP/1.1 101 Switching\r\n\r\n"), "connection failed"),
        (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), "answered 204"),
        (redirect("http://127.0.0.1:99999/"), "99999 is not a valid port"),
        (redirect("http://127.0.0.1:0/"), "0 is not a valid port"),
        (redirect("http://127.0.0.1:x/"), "not a valid address"),
        (redirect("http://\x01/"), "not a valid address"),
        (redirect("http://a..b/"), "not a valid address"),
        (redirect(f"https://{'a' * 64}.example/"), "not a valid address"),
        (redirect("https://xn--zz--.example/"), "is not an allowed host"),
        (redirect("http://[::1/"), "not a valid address|is followed here"),
        (redirect("ftp://example.org/"), "only http and https addresses are followed"),
        (redirect("javascript:1"), "only http and https addresses are followed"),
        (redirect("data:text/csv,a"), "only http and https addresses are followed"),
        (raw(b""), "connection failed"),
        (raw(b"SSH-2.0-OpenSSH_9\r\n"), "connection failed"),
        (raw(b"HTTP/1.1 abc\r\n\r\n"), "connection failed"),
        (raw(OK + b"Content-Length: ten\r\n\r\n0123456789"), "connection failed .*Content-Length"),
        (raw(OK + b"Content-Length: -1\r\n\r\n"), "connection failed .*Content-Length"),
        (raw(OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n"), "connection failed .*Content-Length"),
        (raw(OK + b"Content-Length: \xb2\r\n\r\n"), "connection failed"),
        (raw(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n"), "connection failed .*Content-Length"),
        (raw(OK + b"X: " + b"x" * 200_000 + b"\r\n\r\n"), "connection failed"),
        (raw(OK + b"Content-Length: 9\r\n\r\nshort"), "connection failed"),
        (raw(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"), "connection failed"),
        (raw(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab"), "connection failed"),
        (raw(OK + b"Transfer-Encoding: gzip\r\n\r\n"), "connection failed"),
        (raw(OK + b"Content-Encoding: gzip\r\n\r\nno gzip"), "the gzip encoding is damaged"),
        (raw(OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"a,b\n" * 99)[:-6]), "gzip encoding ends early"),
        (raw(OK + b"Content-Encoding: gzip\r\nContent-Length: 0\r\n\r\n"), "gzip encoding ends early"),
        (raw(OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(5_000_000))), "more than 1,000,000 bytes"),
        (raw(OK + b"Content-Encoding: br\r\n\r\nx"), "Content-Encoding 'br', requested was identity"),
        (raw(b"HTTP/1.1 503 x\r\nRetry-After: \xb2\r\nContent-Length: 0\r\n\r\n"), "answered 503"),
        (raw(b"HTTP/1.1 503 x\r\nRetry-After: " + b"9" * 5000 + b"\r\nContent-Length: 0\r\n\r\n"), "answered 503"),
    ],
)
def test_broken_answers_are_one_sentence(site: Site, answer: Answer, why: str) -> None:
    """No error of a parser, a codec or a socket comes out raw; the message names the address and the cause."""
    site.answers["/a"] = answer
    with pytest.raises(DownloadError, match=why) as error:
        _downloader(site, max_bytes=1_000_000).get(site.url("/a"))
    assert "http" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:99999/", "http://\0/", "http://a..b/", "//no-scheme/", "", "http://\udc80/", "x" * 70_000]
)
def test_addresses_that_are_none(url: str) -> None:
    """The same for the address that is given."""
    with pytest.raises(DownloadError, match=r"valid|only http"):
        Downloader(trusted={"127.0.0.1:99999", "a..b", "["}).get(url)


def test_gzip_that_was_not_requested_is_removed(site: Site) -> None:
    """Some servers compress whatever is requested: the file comes out, in one part or several."""
    packed = gzip.compress(b"a,b\n") + gzip.compress(b"1,2\n" * 100_000)
    site.answers["/a"] = body(packed, Content_Encoding="gzip")
    with _downloader(site).get(site.url("/a")).stream as stream:
        assert stream.read() == b"a,b\n" + b"1,2\n" * 100_000


@pytest.mark.parametrize(
    "answer",
    [
        raw(b"HTTP/1.1 302 Found\r\n\r\n"),
        raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        redirect("http://127.0.0.1:99999/"),
        raw(OK + b"Content-Encoding: gzip\r\n\r\nno gzip"),
        body(b"[" * 100_000),
        body(b"\xff\xfe"),
        body(b'{"resources": 1}'),
    ],
    ids=["no-location", "304", "port", "gzip", "deep", "encoding", "no-list"],
)
def test_stable_links_are_used_whatever_the_api_answers(site: Site, answer: Answer) -> None:
    """The documented fallback: an API that answers nonsense leaves the years of the stable links."""
    site.answers[f"/api/{SLUG.format(year=2024)}/"] = answer
    year, keys = next(iter(STABLE_IDS.items()))
    site.answers["/r/" + keys[0]] = body(b"Num_Acc;jour\n")
    site.answers["/r/" + keys[1]] = answer
    source = OfficialSource(_downloader(site), site.url("/api/"), site.url("/r/"), latest=lambda: 2024)
    assert source.years() == sorted(STABLE_IDS)
    assert not source.is_current()
    assert "the stable links are used instead" in source.notes()[0]
    with source.fetch(year, "caracteristiques").stream as stream:
        assert stream.read() == b"Num_Acc;jour\n"


def test_a_stable_link_that_breaks_is_a_source_error(site: Site) -> None:
    """Behind the fallback, too, one sentence."""
    site.answers["/r/" + STABLE_IDS[2023][0]] = raw(b"HTTP/1.1 302 Found\r\n\r\n")
    source = OfficialSource(_downloader(site), site.url("/api/"), site.url("/r/"), latest=lambda: 2019)
    with pytest.raises(SourceError, match=r"caracteristiques of 2023 cannot be fetched: .*302 without a Location"):
        source.fetch(2023, "caracteristiques")
