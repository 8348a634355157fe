"""`POST /predict/accidents/csv`: published formats, invalid lines, formulas, size limits, constant memory."""

from __future__ import annotations

import csv
import io
import socket
import tracemalloc
from collections.abc import Iterator

import httpx
import pytest

from accident_reco.models.accidents.serving.csv_rows import CsvTable, LineSplitter, escape_formula, parse_cell
from accident_reco.models.accidents.serving.csv_scoring import score_file
from accident_reco.settings import Settings
from accident_reco.storage import prediction_log
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.live import live, wait_for
from accident_reco_tests.support.toy import LOADERS, ToyScorer, promote, toy_bundle
from serving.predict.app import create_app

URL = "/predict/accidents/csv"
CSV = {"content-type": "text/csv"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Warehouse]]:
    home = tmp_path_factory.mktemp("csv")
    promote(home, toy_bundle(0.9))
    settings = Settings.load(home=home, auth_required=False, max_upload_bytes=3_000_000)
    Warehouse(settings.database).upgrade()
    with live(create_app(settings, LOADERS)) as client:
        yield client, Warehouse(settings.database)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines(), delimiter=";"))


def test_a_file_on_this_machine_is_scored_as_an_upload(served: tuple[httpx.Client, Warehouse]) -> None:
    """The same lines, errors included, in the same order, across batches; only the prediction ids are new."""
    client, _ = served
    body = "catu;id_usager\n" + "".join(f"{row % 3 + 1};{row}\n" for row in range(2_500)) + "1;2;3\n\n"
    upload = rows_of(client.post(URL, content=body.encode(), headers=CSV).text)
    chunks = list(score_file(ToyScorer(0.9, 0.5), io.BytesIO(body.encode())))
    scored = rows_of(b"".join(chunks).decode())
    assert len(chunks) == 4, "header and three batches"
    assert len({row.pop("prediction_id") for row in scored}) == 2_501
    for row in upload:
        del row["prediction_id"]
    assert scored == upload
    assert [row["line"] for row in scored if row["error"]] == ["2502"]
    for wrong, problem in (
        (b"", "no header"),
        (b"a;b\n1;2\n", "must name BAAC columns"),
        (b"catu\n" + b"1" * 20_000, "characters"),
    ):
        with pytest.raises(ValueError, match=problem):
            list(score_file(ToyScorer(0.9, 0.5), io.BytesIO(wrong)))


def test_published_lines_are_read(served: tuple[httpx.Client, Warehouse]) -> None:
    """Quotes, " -1" with its space, decimal commas, no-break spaces, letters, clock times, unused columns."""
    client, warehouse = served
    body = (
        '"Num_Acc";"id_usager";"catu";"lat";"hrmn";"actp";"secu1";"grav";"adr"\r\n'
        '"202400000001";"203\u00a0988\u00a0581";"3";" -0,39851000";"17:45";"A";" -1";"2";"N/A"\r\n'
        '"202400000001";"203\u00a0988\u00a0582";" -1";"48,5";"745";"0";"8";"4";"=HYPERLINK(1)"\r\n'
    )
    answer = client.post(URL, content=body.encode(), headers=CSV)
    assert answer.status_code == 200
    first, second = rows_of(answer.text)
    assert (first["line"], first["Num_Acc"], first["probability"], first["severity"]) == (
        "2",
        "202400000001",
        "0.9",
        "grave",
    )
    assert first["id_usager"] == "203\u00a0988\u00a0581"
    assert (second["probability"], second["error"]) == ("0.0", "")
    wait_for(lambda: prediction_log.prediction(warehouse, second["prediction_id"]) is not None)
    logged = prediction_log.prediction(warehouse, first["prediction_id"])
    assert logged is not None
    assert logged["inputs"] == {
        "Num_Acc": 202400000001,
        "id_usager": "203 988 581",
        "catu": 3,
        "lat": -0.39851,
        "hrmn": 1745,
        "actp": 10,
    }
    assert logged["source"] == "csv"


def test_invalid_lines_are_reported_by_number(served: tuple[httpx.Client, Warehouse]) -> None:
    """A wrong code, a missing field, a broken quote, an empty line, then a good line."""
    client, _ = served
    body = 'catu,vma\n9,50\n1\n"1,50\n\n3,50\n'
    rows = rows_of(client.post(URL, content=body, headers=CSV).text)
    assert [row["line"] for row in rows] == ["2", "3", "4", "6"]
    assert rows[0]["error"] == "catu (kind of road user) takes {1, 2, 3}, or -1 for unknown"
    assert rows[1]["error"] == "the line has 1 fields, the header 2"
    assert "quotes" in rows[2]["error"]
    assert (rows[3]["severity"], rows[3]["error"]) == ("grave", "")


def test_formulas_are_escaped(served: tuple[httpx.Client, Warehouse]) -> None:
    """Keys are the client's text: a spreadsheet that opens the response must not execute them."""
    client, _ = served
    body = "id_usager;catu\n=cmd|' /C calc'!A0;1\n@SUM(1);1\n-12;1\n+1 2;1\n"
    rows = rows_of(client.post(URL, content=body, headers=CSV).text)
    assert [row["id_usager"][:2] for row in rows] == ["'=", "'@", "-1", "'+"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "no-header"),
        (b"a;b;c\n1;2;3\n", "no-header"),
        (b"catu;catu\n1;1\n", "bad-header"),
        (b"\xff\xfe\x00\x01" * 10 + b"\n", "no-header"),
        (b"c" * 20_000, "line-too-long"),
    ],
)
def test_invalid_headers_are_rejected(served: tuple[httpx.Client, Warehouse], body: bytes, kind: str) -> None:
    """422 without a usable header, not a response full of errors."""
    answer = served[0].post(URL, content=body, headers=CSV)
    assert answer.status_code == 422
    assert answer.json()["type"].endswith(kind)


def test_other_media_types_are_rejected(served: tuple[httpx.Client, Warehouse]) -> None:
    """415, for JSON too."""
    answer = served[0].post(URL, json={"records": []})
    assert answer.status_code == 415


def test_uploads_over_the_limit_are_rejected(served: tuple[httpx.Client, Warehouse]) -> None:
    """413 by declared length; by counted length the streamed response breaks off visibly."""
    client, _ = served
    assert client.post(URL, content=b"catu\n" + b"1\n" * 2_000_000, headers=CSV).status_code == 413

    def dripping() -> Iterator[bytes]:
        yield b"catu\n"
        for _ in range(40):
            yield b"1\n" * 50_000

    with pytest.raises(httpx.HTTPError):
        client.post(URL, content=dripping(), headers=CSV, timeout=1)
    assert client.get("/livez").status_code == 200


def test_clients_may_read_after_sending_everything(served: tuple[httpx.Client, Warehouse]) -> None:
    """Most HTTP libraries send the whole body before they read: the service must not block on them."""
    client, _ = served
    n = 30_000
    content = b"catu;id_usager\n" + b"1;abcdefghijkl\n" * n
    answer = client.post(URL, content=content, headers=CSV)
    assert answer.text.count("\n") == n + 1
    assert rows_of(answer.text)[-1]["line"] == str(n + 1)


def test_lines_survive_any_cut() -> None:
    """Pieces of a body may end anywhere, inside a character too; memory holds one line, not the file."""
    text = "catu;adr\n1;Allée des Érables\n2;x".encode()
    for size in (1, 2, 3, 7, 100):
        lines = LineSplitter()
        got = [line for i in range(0, len(text), size) for line in lines.feed(text[i : i + size])]
        got += lines.feed(b"", last=True)
        assert got == ["catu;adr", "1;Allée des Érables", "2;x"]
    tracemalloc.start()
    lines = LineSplitter()
    table = CsvTable("catu;id_usager")
    for number in range(20_000):
        for line in lines.feed(b"1;%d\n" % number):
            assert table.row(number, line).error is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000


@pytest.mark.parametrize(
    ("name", "cell", "value"),
    [
        ("catu", " 1", 1),
        ("catu", "1,0", 1),
        ("catu", " -1", None),
        ("catu", "", None),
        ("lat", "-1", -1.0),
        ("lat", "48,85", 48.85),
        ("larrout", "-1", None),
        ("hrmn", "07:05", 705),
        ("hrmn", "705", 705),
        ("actp", "B", 11),
        ("dep", "2A", "2A"),
        ("pr1", "N/A", None),
        ("nb_users", "4", 4),
        ("Num_Acc", "7", 7),
    ],
)
def test_cells(name: str, cell: str, value: object) -> None:
    """Published spellings of values and of unknown."""
    assert parse_cell(name, cell) == (value, None)


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("catu", "4"),
        ("catu", "1.5"),
        ("catu", "nan0"),
        ("catu", "1e999"),
        ("lat", "91"),
        ("hrmn", "2500"),
        ("hrmn", "7:5"),
        ("vma", "900"),
        ("nb_users", "-2"),
        ("Num_Acc", "1" * 40),
        ("an_nais", "abc"),
    ],
)
def test_invalid_cells_are_rejected(name: str, cell: str) -> None:
    """The message names the column and the rule, not the value."""
    value, problem = parse_cell(name, cell)
    assert value is None
    assert problem is not None
    assert problem.startswith(name)
    assert cell not in problem.replace("2500", "").replace("2.5", "") or len(cell) < 3


def test_harmless() -> None:
    """Numbers and text stay, formulas get an apostrophe."""
    assert [escape_formula(c) for c in ("=1", "+1", "-1,5", "-a", "@x", "\tx", "\uff1d1", "abc", "")] == [
        "'=1",
        "+1",
        "-1,5",
        "'-a",
        "'@x",
        "'\tx",
        "'\uff1d1",
        "abc",
        "",
    ]


def test_disconnected_clients_are_no_error(served: tuple[httpx.Client, Warehouse]) -> None:
    """Half an upload, then a disconnect: the next request is served."""
    client, _ = served
    with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as connection:
        connection.sendall(
            b"POST /predict/accidents/csv HTTP/1.1\r\nhost: x\r\ncontent-type: text/csv\r\ncontent-length: 1000\r\n\r\n"
            b"catu\n1\n"
        )
        assert connection.recv(10).startswith(b"HTTP/1.1")
    assert client.post(URL, content="catu\n1\n", headers=CSV).status_code == 200
