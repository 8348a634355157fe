"""The published formats, recognised by header and shape, and the reasons of quarantined rows."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest

from accident_reco.models.movies.data.catalogues import read_movies
from accident_reco.models.movies.data.formats import RatingReader, UnknownFormat
from accident_reco.models.movies.data.quarantine import RatingRules, SeenPairs
from accident_reco.models.movies.data.ratings import RatingScale, parse_years
from accident_reco_tests.unit.models.movies.conftest import NOW

CSV = b"userId,movieId,rating,timestamp\n1,10,4.0,964982703\n1,20,0.5,964981247\n2,10,5.0,1445714835\n"
DAT = b"1::10::4::964982703\n1::20::1::964981247\n2::10::5::975000000\n"
TABS = b"196\t242\t3\t881250949\n186\t302\t3\t891717742\n"


@pytest.mark.parametrize(
    ("content", "scale", "first"),
    [
        (CSV, RatingScale(0.5, 5, 0.5), (1, 10, 4.0, 964982703)),
        (DAT, RatingScale(1, 5, 1), (1, 10, 4.0, 964982703)),
        (TABS, RatingScale(1, 5, 1), (196, 242, 3.0, 881250949)),
    ],
)
def test_each_format_is_recognised_by_its_first_line(
    content: bytes, scale: RatingScale, first: tuple[float, ...]
) -> None:
    """ratings.csv by header, ratings.dat by its double colons, u.data by its tabs."""
    reader = RatingReader(io.BytesIO(content), "file")
    chunk = next(iter(reader))
    assert reader.scale == scale
    assert (chunk.user_id[0], chunk.movie_id[0], chunk.rating[0], chunk.rated_at[0]) == first
    assert len(chunk.line) == content.count(b"\n") - (content is CSV)


def test_small_blocks_read_the_same_rows() -> None:
    """A block that ends inside a line, and a last line without a newline, lose nothing and keep line numbers right."""
    whole = next(iter(RatingReader(io.BytesIO(CSV), "f")))
    parts = list(RatingReader(io.BytesIO(CSV.rstrip()), "f", block_bytes=7))
    assert len(parts) > 1
    for name in ("user_id", "movie_id", "rating", "rated_at", "line"):
        assert np.concatenate([getattr(part, name) for part in parts]).tolist() == getattr(whole, name).tolist()


def test_columns_may_come_in_another_order() -> None:
    """The header counts, not the place."""
    chunk = next(iter(RatingReader(io.BytesIO(b"timestamp,rating,movieId,userId\n964982703,4.5,10,1\n"), "f")))
    assert (chunk.user_id[0], chunk.movie_id[0], chunk.rating[0], chunk.rated_at[0]) == (1, 10, 4.5, 964982703)


def test_unknown_format_names_file_and_line() -> None:
    """A saved error page is not a rating file."""
    with pytest.raises(UnknownFormat, match=r"ratings\.csv: first line '<html>'.*ratings\.dat or u\.data"):
        RatingReader(io.BytesIO(b"<html>\n"), "ratings.csv")


def test_every_invalid_row_is_quarantined_with_its_reason() -> None:
    """One row per rule; the good rows around them are kept; line numbers are the file's."""
    lines = [
        "1,10,4.0,964982703",  # 2: kept
        "1,10,3.0,964982704",  # 3: twice
        "1,20,7.0,964982703",  # 4: off the scale
        "1,20,3.3,964982703",  # 5: between the steps
        "1,20,abc,964982703",  # 6: no number
        "1,99,4.0,964982703",  # 7: no such movie
        "1,20,4.0,964982703000",  # 8: milliseconds
        "1,20,4.0,1999999999",  # 9: the future
        "1,20,4.0",  # 10: a column short
        "x,20,4.0,964982703",  # 11: no id
        "1,20,4.0,",  # 12: no time
        "2,20,4.0,964982703",  # 13: kept
    ]
    content = ("userId,movieId,rating,timestamp\n" + "\n".join(lines) + "\n").encode()
    reader = RatingReader(io.BytesIO(content), "ratings.csv")
    rules = RatingRules(reader.scale, np.array([10, 20]), NOW)
    chunk = next(iter(reader))
    kept, rejected = rules.partition_valid(chunk)
    assert kept.user_id.tolist() == [1, 2]
    assert dict(zip(rejected.line, rejected.rule, strict=True)) == {
        3: "duplicate",
        4: "rating_scale",
        5: "rating_scale",
        6: "rating_scale",
        7: "unknown_movie",
        8: "timestamp_milliseconds",
        9: "timestamp_future",
        11: "identifier",
        12: "timestamp_missing",
    }
    (short,) = reader.malformed
    assert short.line.tolist() == [10]
    assert short.reason[0] == "ratings.csv line 10: '1,20,4.0' does not have 4 columns; row kept in quarantine"
    reasons = dict(zip(rejected.line, rejected.reason, strict=True))
    assert reasons[4] == "ratings.csv line 4: rating = 7.0 is not on the scale 0.5 to 5 by 0.5; row kept in quarantine"
    assert "user 1 has already rated movie 10" in reasons[3]
    assert rules.counts["rating_scale"] == 3


def test_no_byte_of_a_row_harms_the_rows_around_it() -> None:
    """A stray quote swallows no line, invalid UTF-8 and a NUL stop nothing; enclosing quotes are removed."""
    content = (
        b'\xef\xbb\xbf"userId","movieId","rating","timestamp"\r\n'
        b'1,"10,4.0,964982703\r\n'  # 2: an unclosed quote
        b'"1","10","4.0","964982703"\r\n'  # 3: kept
        b"1,\xff\xfe,4.0,964982703\r\n"  # 4: no text
        b"1,2\x000,4.0,964982703\r\n"  # 5: a NUL
        b"2,20,4.5,964982703\r\n"  # 6: kept
    )
    reader = RatingReader(io.BytesIO(content), "ratings.csv")
    rules = RatingRules(reader.scale, np.array([10, 20]), NOW)
    kept, rejected = rules.partition_valid(next(iter(reader)))
    assert (kept.user_id.tolist(), kept.movie_id.tolist(), kept.rating.tolist()) == ([1, 2], [10, 20], [4.0, 4.5])
    assert dict(zip(rejected.line, rejected.rule, strict=True)) == dict.fromkeys((2, 4, 5), "identifier")
    assert reader.malformed == []
    assert rejected.movie_id.tolist() == ['"10', "\xff\xfe", "2\ufffd0"]
    marked = next(iter(RatingReader(io.BytesIO(b"\xef\xbb\xbf" + DAT), "ratings.dat")))
    assert marked.user_id.tolist() == [1, 1, 2]


def test_half_stars_tell_the_scale_of_files_without_header() -> None:
    """ml-10m has half stars in ratings.dat, however late the first comes; one among many whole stars is an error."""
    whole = b"".join(b"%d::10::4::964982703\n" % user for user in range(1, 300))
    for halves, scale, kept in ((20, "0.5 to 5 by 0.5", 319), (1, "1 to 5 by 1", 299)):
        content = whole + b"".join(b"%d::20::3.5::964982703\n" % user for user in range(1, halves + 1))
        reader = RatingReader(io.BytesIO(content), "ratings.dat", block_bytes=1000)
        assert str(reader.scale) == scale
        rules = RatingRules(reader.scale, np.array([10, 20]), NOW)
        parts = [rules.partition_valid(chunk) for chunk in reader]
        assert sum(len(valid) for valid, _ in parts) == kept
        assert sum(len(rejected) for _, rejected in parts) == 299 + halves - kept


def test_a_pair_seen_in_an_earlier_chunk_is_a_duplicate() -> None:
    """Runs merge as they grow; nothing is forgotten."""
    seen, random = SeenPairs(), np.random.default_rng(0)
    known: set[int] = set()
    for _ in range(40):
        keys = random.integers(0, 3_000, 200).astype(np.uint64)
        again = seen.add(keys)
        for key, flag in zip(keys.tolist(), again.tolist(), strict=True):
            assert flag == (key in known)
            known.add(key)
    assert len(seen._runs) < 10


def test_movies_of_all_three_formats() -> None:
    """Quotes and commas in titles; latin-1 in the old sets; a genre with two spellings; two words for none."""
    new = read_movies(
        b'movieId,title,genres\n2,"City of Lost Children, The (1995)",Adventure|Drama\n1,X,(no genres listed)\n',
        "movies.csv",
    )
    assert new.movie_id.tolist() == [1, 2]
    assert new.title[1] == "City of Lost Children, The (1995)"
    assert new.genres == ["", "Adventure|Drama"]
    dat = read_movies("73::Misérables, Les (1995)::Drama|Children's\n".encode("latin-1"), "movies.dat")
    assert (dat.title, dat.genres) == (["Misérables, Les (1995)"], ["Drama|Children"])
    item = read_movies(b"1|Toy Story (1995)|01-Jan-1995||http://x|0|0|0|1|1|1" + b"|0" * 13 + b"\n", "u.item")
    assert item.genres == ["Animation|Children|Comedy"]


def test_old_sets_in_utf_8_lose_no_movie() -> None:
    """The second byte of `à` and `Å` ends a line to `str.splitlines`; a file's own lines are what counts."""
    dat = read_movies("1::Voilà Åke (1995)::Drama\r\n2::X::Comedy\r\n".encode(), "movies.dat")
    assert dat.title == ["Voilà Åke (1995)", "X"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1::X::Drama\n2::Y\n", "line 2: 2 columns where 3 are expected: '2 Y'"),
        (b"movieId,title,genres\n1,X\n", "line 2: 2 columns where 3 are expected"),
        (b'movieId,title,genres\n1,"X,Drama\n2,Y,Drama\n3,"Z",Drama\n', "a quote is not closed before line 4"),
        (b"movieId,title,genres\n1,X,Drama\ntwo,Y,Drama\n", "line 3: movie id 'two' is not a number"),
        (b"movieId,title,genres\n0,X,Drama\n", "line 2: movie id '0' is not a number from 1 to 2147483647"),
        (b"1|X|01-Jan-1995||http://x" + b"|0" * 19 + b"\n2|Y|||\n", "line 2: 5 columns where 24 are expected"),
    ],
)
def test_broken_catalogue_is_an_error_with_its_line(content: bytes, message: str) -> None:
    """A movie that cannot be read is an error with its line: if skipped, it would lose its ratings."""
    with pytest.raises(UnknownFormat, match=re.escape(message)):
        read_movies(content, "movies")


def test_years_in_titles() -> None:
    """At the end, alone or as a span; else none."""
    assert parse_years(["Heat (1995)", "Babylon 5", "Dekalog (1988-89)", "2001: A Space Odyssey (1968) "]).tolist() == [
        1995,
        -1,
        1988,
        1968,
    ]


def test_the_real_files_lose_no_row(movielens_dir: Path) -> None:
    """100,836 ratings and 9,742 movies in, nothing quarantined."""
    catalogue = read_movies((movielens_dir / "movies.csv").read_bytes(), "movies.csv")
    assert len(catalogue) == 9_742
    with (movielens_dir / "ratings.csv").open("rb") as stream:
        reader = RatingReader(stream, "ratings.csv", block_bytes=300_000)
        rules = RatingRules(reader.scale, catalogue.movie_id, NOW)
        partitioned = [rules.partition_valid(chunk) for chunk in reader]
    assert sum(len(kept) for kept, _ in partitioned) == 100_836
    assert sum(len(rejected) for _, rejected in partitioned) == 0


NUMBERS = (
    *("1", "01", "+1", " 1", "1 ", "\t1", "1.0", "1.", "1e0", "0x1", " 0x1", "0X1", "-1", "0", "2147483647"),
    *("2147483648", "99999999999999999999", "", " ", "nan", "NaN", "NA", "null", "inf", "-inf", "Infinity", "true"),
    *("\xa01", "\uff11", "1\0", "1,5", "1_0", "--1", '"1"', '1"', "2020-01-01", "4.5", ".5", "4.50", "4.05", "+4.5"),
    *("964982703.0", "+964982703", "1\r", "1#", "ab", "+", "+-1", ".", "+.5"),
)


@pytest.mark.parametrize("separator", [",", "\t", "::"])
@pytest.mark.parametrize("place", range(4))
def test_numbers_are_read_as_their_text_is(separator: str, place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are read as numbers where that is possible: the same rows, values and text as cell by cell."""
    good = ["1", "10", "4.0", "964982703"]
    lines = [good, *([*good[:place], cell, *good[place + 1 :]] for cell in NUMBERS), [*good, "5"], ["1"], good]
    content = "\n".join(separator.join(line) for line in lines).encode()

    def read(block_bytes: int) -> tuple[list[str], int]:
        reader = RatingReader(io.BytesIO(content), "file", block_bytes=block_bytes)
        rules = RatingRules(reader.scale, np.array([1, 10, 20]), NOW)
        found: list[tuple[object, ...]] = []
        for chunk in reader:
            names = ("line", "user_id", "movie_id", "rating", "rated_at")
            found += zip(*(getattr(chunk, name).tolist() for name in names), strict=True)
            kept, rejected = rules.partition_valid(chunk)
            found += zip(*(values.tolist() for values in vars(kept).values()), strict=True)
            found += rejected.itertuples(index=False, name=None)
        found += (row for frame in reader.malformed for row in frame.itertuples(index=False, name=None))
        return [repr(row) for row in found], sum(isinstance(row[0], int) for row in found)

    for block_bytes in (20, 200):  # about a line, and about ten
        as_numbers = read(block_bytes)
        with monkeypatch.context() as patch:
            patch.setattr(RatingReader, "_read_numbers", lambda *_: None)
            as_text = read(block_bytes)
        assert as_numbers == as_text
        assert as_numbers[1] > len(NUMBERS)


@pytest.mark.parametrize("content", [CSV, DAT, TABS])
def test_published_files_are_read_as_numbers(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading cell by cell takes several times as long; text is only read for the rows in quarantine."""
    texts: list[int] = []
    original = RatingReader._read_text

    def read_text(self: RatingReader, block: bytes, *rest: object) -> object:
        texts.append(len(block))
        return original(self, block, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(RatingReader, "_read_text", read_text)
    (chunk,) = RatingReader(io.BytesIO(content), "file")
    assert texts == []
    rows = np.arange(len(chunk.line))
    assert [int(text) for text in chunk.text["user_id"](rows)] == chunk.user_id.tolist()
    assert [float(text) for text in chunk.text["rating"](rows)] == chunk.rating.tolist()
    assert len(texts) == 1
