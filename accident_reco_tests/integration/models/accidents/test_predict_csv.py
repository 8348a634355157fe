"""`POST /predict/accidents/csv`: published formats, invalid lines, formulas, size limits, constant memory."""

from __future__ import annotations

import csv
import gzip
import io
import json
import socket
import threading
import zipfile
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from accident_reco.models.accidents.sample import sample_year
from accident_reco.models.accidents.serving.plugin import AccidentServing
from accident_reco.settings import Settings
from accident_reco.storage import prediction_log
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.live import live, wait_for
from accident_reco_tests.support.toy import LOADERS, ToyScorer, promote, toy_bundle
from serving.common.run import _listen
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
    serving = AccidentServing("accidents")
    scored = rows_of(b"".join(serving.score_csv(ToyScorer(0.9, 0.5), io.BytesIO(body.encode()))).decode())
    assert len({row.pop("prediction_id") for row in scored}) == 2_501
    for row in upload:
        del row["prediction_id"]
    assert scored == upload
    assert [row["line"] for row in scored if row["error"]] == ["2502"]
    for wrong, problem in (
        (b"", "no header"),
        (b"a;b\n1;2\n", "must name BAAC columns"),
        (b"catu\n" + b"1" * 20_000, "at most 16384 bytes"),
    ):
        with pytest.raises(ValueError, match=problem):
            list(serving.score_csv(ToyScorer(0.9, 0.5), io.BytesIO(wrong)))


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
    """A wrong code, a missing field, a quote too many, a quote that hides a field, an empty line, then a good line."""
    client, _ = served
    body = 'catu,vma\n9,50\n1\n"3,50\n"3;50\n\n3,50\n'
    rows = rows_of(client.post(URL, content=body, headers=CSV).text)
    assert [row["line"] for row in rows] == ["2", "3", "4", "5", "7"]
    assert (rows[0]["probability"], rows[0]["notes"]) == ("0.0", "catu = 9 is not in {1, 2, 3}; read as unknown")
    assert rows[1]["error"] == "the line has 1 fields, the header 2"
    assert (rows[2]["probability"], rows[2]["notes"]) == ("0.9", "the line has a quote too many; quotes dropped")
    assert "quotes" in rows[3]["error"]
    assert (rows[4]["severity"], rows[4]["notes"], rows[4]["error"]) == ("grave", "", "")


def test_every_published_value_is_answered(served: tuple[httpx.Client, Warehouse]) -> None:
    """Values that the publisher's files have and the codebook has not: a probability, and a note for each."""
    client, _ = served
    body = "catu;nbv;circ;vma;actp;larrout\n3;0;2;50;1;6,0\n3;#ERREUR;0;900;7;0\n3;NA;-1.0;3;nan;NULL\n"
    rows = rows_of(client.post(URL, content=body, headers=CSV).text)
    assert [(row["probability"], row["error"]) for row in rows] == [("0.9", "")] * 3
    assert rows[0]["notes"] == "nbv = 0 is not filled in; read as unknown"
    noted = [note.split(" ")[0] for note in rows[1]["notes"].split(" | ")]
    assert sorted(noted) == ["actp", "circ", "larrout", "nbv", "vma"]
    assert "vma = 900 is ten times a usual limit (5 to 130 km/h); read as a tenth of it" in rows[1]["notes"]
    assert rows[2]["notes"] == "vma = 3 is not in 5 to 130 km/h; read as unknown"


def test_numbers_of_thousands_of_digits_are_unknown(served: tuple[httpx.Client, Warehouse]) -> None:
    """A note of the line, not an error of the service: Python refuses to convert such a text."""
    numbers = ["0" * 5000, "9" * 5000, "9" * 5000 + ".0", "1e999"]
    body = "Num_Acc;id_usager;catu\n" + "".join(f"{number};{number};1\n" for number in numbers)
    rows = rows_of(served[0].post(URL, content=body, headers=CSV).text)
    assert [(row["probability"], row["error"]) for row in rows] == [("0.3", "")] * 4
    assert all(row["notes"].startswith("Num_Acc = ") and len(row["notes"]) < 200 for row in rows)


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
        (b'"catu;sexe\n1;1\n', "bad-header"),
        (b'catu;"sexe"x\n1;1\n', "bad-header"),
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
    assert client.post(URL, content=b"catu\n" + b"1\n" * 8_000_000, headers=CSV).status_code == 413

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


TABLES = {name: file.data for name, file in sample_year(2023, 200).items()}


def _zip(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.csv", data)
    return out.getvalue()


def test_one_file_in_every_form(served: tuple[httpx.Client, Warehouse]) -> None:
    """CSV, gzip, zip, Parquet and a form with one part have the same answer."""
    client, _ = served
    body = b"catu;id_usager\n1;a\n3;b\n"
    parquet = io.BytesIO()
    pq.write_table(pa.table({"catu": [1, 3], "id_usager": ["a", "b"]}), parquet)
    forms = {
        "text/csv": body,
        "application/gzip": gzip.compress(body),
        "application/zip": _zip({"people": body}),
        "application/vnd.apache.parquet": parquet.getvalue(),
        "application/octet-stream": gzip.compress(body),
    }
    answers = [client.post(URL, content=data, headers={"content-type": kind}) for kind, data in forms.items()]
    answers += [client.post(URL, files={"file": ("people.csv", data)}) for data in forms.values()]
    for answer in answers:
        rows = [(row["line"], row["id_usager"], row["probability"], row["error"]) for row in rows_of(answer.text)]
        assert rows == [("2", "a", "0.3", ""), ("3", "b", "0.9", "")], answer.request.headers["content-type"]
        assert answer.headers["x-data-source"] == "sample"


def test_the_four_published_files(served: tuple[httpx.Client, Warehouse]) -> None:
    """As parts of a form and as a zip: one row for each road user, complete context, logged with it."""
    client, warehouse = served
    parts = [("files", (f"{name}-2023.csv", data)) for name, data in TABLES.items()]
    form = rows_of(client.post(URL, files=parts).text)
    zipped = rows_of(client.post(URL, content=_zip(TABLES), headers={"content-type": "application/zip"}).text)
    assert [row["line"] for row in form] == [str(n) for n in range(2, TABLES["usagers"].count(b"\n") + 2)][: len(form)]
    assert len(form) == len(TABLES["usagers"].splitlines()) - 1
    assert {(row["context"], row["error"]) for row in form + zipped} == {("full", "")}
    assert [row["probability"] for row in form] == [row["probability"] for row in zipped]
    wait_for(lambda: prediction_log.prediction(warehouse, form[-1]["prediction_id"]) is not None)
    logged = prediction_log.prediction(warehouse, form[-1]["prediction_id"])
    assert logged is not None
    assert logged["inputs"]["Num_Acc"] == int(form[-1]["Num_Acc"])
    assert logged["inputs"]["nb_users"] >= 1
    assert logged["score"] == float(form[-1]["probability"])


def test_answers_by_accept(served: tuple[httpx.Client, Warehouse]) -> None:
    """JSON lines and Parquet have the rows of the CSV; another type is a 406 before anything is scored."""
    client, _ = served
    body = b"catu\n1\n9\n"
    lines = client.post(URL, content=body, headers=CSV | {"accept": "application/x-ndjson"})
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line)["probability"] for line in lines.text.splitlines()] == [0.3, 0.0]
    parquet = client.post(URL, content=body, headers=CSV | {"accept": "application/vnd.apache.parquet"})
    table = pq.read_table(io.BytesIO(parquet.content))
    assert table["notes"].to_pylist() == ["", "catu = 9 is not in {1, 2, 3}; read as unknown"]
    refused = client.post(URL, content=body, headers=CSV | {"accept": "image/png"})
    assert (refused.status_code, refused.json()["type"].rpartition(":")[2]) == (406, "not-acceptable")


@pytest.mark.parametrize(
    ("content", "status", "kind"),
    [
        (gzip.compress(b"catu\n" + b"1\n" * 2_000_000), 413, "compressed-too-much"),
        (_zip({"people": b"catu\n" + b"1\n" * 2_000_000}), 413, "compressed-too-much"),
        (_zip({"lieux": TABLES["lieux"], "usagers": TABLES["usagers"]}), 422, "missing-table"),
        (b"PK\x03\x04", 422, "damaged-file"),
        (b"PAR1", 422, "damaged-file"),
        (b"\x1f\x8b", 422, "damaged-file"),
    ],
)
def test_archives_are_bounded(served: tuple[httpx.Client, Warehouse], content: bytes, status: int, kind: str) -> None:
    """Bombs and damaged files are problems, not half answers."""
    answer = served[0].post(URL, content=content, headers={"content-type": "application/octet-stream"})
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (status, kind)


def test_locations_on_request(served: tuple[httpx.Client, Warehouse]) -> None:
    """As they were read: decimal commas, missing ones, lines that are no row; in every form, and only on request."""
    client, _ = served
    body = (
        "Num_Acc;catu;dep;com;lat;long\n202400000001;1;59;59350;50,63;3,06\n202400000002;1;2A;;;\n"
        "1;2;3;4;5;6;7\n202400000003;3;=1+1;;43,5;1,5\n"
    )
    expected = [("59", "59350", 50.63, 3.06), ("2A", None, None, None), (None,) * 4, ("=1+1", None, 43.5, 1.5)]
    url = f"{URL}?locations=true"

    def request(accept: str) -> httpx.Response:
        return client.post(url, content=body.encode(), headers=CSV | {"accept": accept})

    rows = [json.loads(line) for line in request("application/x-ndjson").text.splitlines()]
    assert [tuple(row[name] for name in ("dep", "com", "lat", "long")) for row in rows] == expected
    table = pq.read_table(io.BytesIO(request("application/vnd.apache.parquet").content)).to_pylist()
    assert [tuple(row[name] for name in ("dep", "com", "lat", "long")) for row in table] == expected
    found = rows_of(request("text/csv").text)
    assert [row["lat"] for row in found] == ["50.63", "", "", "43.5"]
    assert found[3]["dep"] == "'=1+1"
    assert found[2]["error"]
    assert "lat" not in rows_of(client.post(URL, content=body.encode(), headers=CSV).text)[0]


def test_forms_without_a_file(served: tuple[httpx.Client, Warehouse]) -> None:
    """A form of fields only, of too many files, and one that is broken."""
    client, _ = served
    fields = client.post(URL, files={"catu": (None, "1")})
    assert (fields.status_code, fields.json()["type"].rpartition(":")[2]) == (422, "no-file")
    many = client.post(URL, files=[("f", (f"{n}.csv", b"catu\n1\n")) for n in range(20)])
    assert many.status_code == 400
    broken = client.post(URL, content=b"--x", headers={"content-type": "multipart/form-data"})
    assert broken.status_code == 400
    assert all(answer.headers["content-type"] == "application/problem+json" for answer in (fields, many, broken))


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="TCP_USER_TIMEOUT exists on Linux only")
def test_clients_may_send_for_longer_than_responses_may_be_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole body is sent slowly before a byte is read: the answer waits, and the connection stays."""
    monkeypatch.setattr("serving.common.run.UNREAD_SECONDS", 1)
    promote(tmp_path, toy_bundle(0.9))
    settings = Settings.load(home=tmp_path, auth_required=False, log_predictions=False)
    lines, pieces = b"1;abcdefghijkl\n" * 9_000, 14
    body = b"catu;id_usager\n" + lines * pieces
    with _listen("127.0.0.1", 0) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        with live(create_app(settings, LOADERS), listener=listener), socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
            connection.settimeout(30)
            connection.connect(listener.getsockname())
            connection.sendall(
                b"POST /predict/accidents/csv HTTP/1.1\r\nhost: x\r\ncontent-type: text/csv\r\nconnection: close\r\n"
                b"content-length: %d\r\n\r\ncatu;id_usager\n" % len(body)
            )
            for _ in range(pieces):
                connection.sendall(lines)
                # The pace of a slow line, three times the timeout in all.
                threading.Event().wait(0.25)
            response = HTTPResponse(connection)
            response.begin()
            answer = response.read()
            response.close()
    assert response.status == 200
    assert answer.count(b";abcdefghijkl;") == pieces * 9_000
