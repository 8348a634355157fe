"""The Open Inference Protocol with its own client (tritonclient): JSON and binary tensors, invalid requests."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from accident_reco.settings import Settings
from accident_reco.storage import prediction_log
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.accounts import Auth
from accident_reco_tests.support.live import live, wait_for
from accident_reco_tests.support.loaders import LOADERS
from accident_reco_tests.support.real_accidents import real_bundle
from accident_reco_tests.support.real_movies import movie_bundle
from accident_reco_tests.support.toy import promote
from serving.predict.app import create_app

INFER = "/v2/models/accidents/infer"


@pytest.fixture(scope="module")
def client(auth: Auth) -> Iterator[httpx.Client]:
    promote(auth.settings.home, real_bundle())
    settings = Settings.load(home=auth.settings.home, public_auth_url=auth.url)
    with live(create_app(settings, {"accidents": LOADERS["accidents"]})) as client:
        client.headers.update(auth.headers())
        yield client


@pytest.fixture(scope="module")
def triton(client: httpx.Client) -> Iterator[Any]:
    http = pytest.importorskip("tritonclient.http")
    with http.InferenceServerClient(f"127.0.0.1:{client.base_url.port}") as connection:
        yield connection


def test_health_and_metadata(triton: Any, client: httpx.Client) -> None:
    """Health is open; metadata requires the scope and lists all raw columns of the served version."""
    headers = {"Authorization": client.headers["authorization"]}
    version = client.get("/models").json()[0]["champion"]
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("accidents", headers=headers)
    assert triton.is_model_ready("accidents", version, headers=headers)
    assert not triton.is_model_ready("accidents", "0" * 16, headers=headers)
    assert not triton.is_model_ready("accidents")
    assert triton.get_server_metadata(headers=headers)["name"] == "accident_reco"
    metadata = triton.get_model_metadata("accidents", headers=headers)
    assert metadata["versions"] == [version]
    types = {tensor["name"]: tensor["datatype"] for tensor in metadata["inputs"]}
    assert (types["catu"], types["lat"], types["dep"]) == ("INT32", "FP64", "BYTES")


@pytest.mark.parametrize("binary", [True, False])
def test_inference_equals_the_rest_endpoint(triton: Any, client: httpx.Client, auth: Auth, binary: bool) -> None:
    """Numbers, text and booleans, as JSON and as binary tensors; every row is in the prediction log."""
    http = pytest.importorskip("tritonclient.http")
    tensors = {
        "catu": np.array([1, 3, -1], dtype=np.int32),
        "lat": np.array([48.5, np.nan if binary else -0.5, 43.0]),
        "dep": np.array([b"59", b"2A", b"75"], dtype=object),
        "vma": np.array([50, 80, 130], dtype=np.int64),
    }
    types = {"catu": "INT32", "lat": "FP64", "dep": "BYTES", "vma": "INT64"}
    inputs = []
    for name, values in tensors.items():
        tensor = http.InferInput(name, list(values.shape), types[name])
        tensor.set_data_from_numpy(values, binary_data=binary)
        inputs.append(tensor)
    outputs = [http.InferRequestedOutput(n, binary_data=binary) for n in ("probability", "grave", "prediction_id")]
    answer = triton.infer(
        "accidents",
        inputs,
        outputs=outputs,
        request_id="mine",
        headers={"Authorization": client.headers["authorization"]},
    )
    assert answer.get_response()["id"] == "mine"
    records = [
        {"catu": 1, "lat": 48.5, "dep": "59", "vma": 50},
        {"catu": 3, "lat": None if binary else -0.5, "dep": "2A", "vma": 80},
        {"lat": 43.0, "dep": "75", "vma": 130},
    ]
    rest = client.post("/predict/accidents", json={"records": records}).json()["predictions"]
    assert answer.as_numpy("probability").tolist() == [p["probability"] for p in rest]
    assert answer.as_numpy("grave").tolist() == [p["severity"] == "grave" for p in rest]
    first = answer.as_numpy("prediction_id")[0]
    first = first.decode() if isinstance(first, bytes) else first
    warehouse = Warehouse(auth.settings.database)
    wait_for(lambda: prediction_log.prediction(warehouse, first) is not None)
    logged = prediction_log.prediction(warehouse, first)
    assert logged is not None
    assert (logged["source"], logged["user_name"], logged["inputs"]["dep"]) == ("v2", "admin", "59")


def test_client_shows_the_error(triton: Any, client: httpx.Client) -> None:
    """Clients of the protocol read the member `error`."""
    http = pytest.importorskip("tritonclient.http")
    utils = pytest.importorskip("tritonclient.utils")
    tensor = http.InferInput("catu", [1], "INT32")
    tensor.set_data_from_numpy(np.array([7], dtype=np.int32))
    with pytest.raises(utils.InferenceServerException, match=r"catu takes \{1, 2, 3\}"):
        triton.infer("accidents", [tensor], headers={"Authorization": client.headers["authorization"]})


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "catu", "shape": [1], "datatype": "INT32", "data": [1]} | changes


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"inputs": []},
        {"inputs": {}},
        {"inputs": [1]},
        {"inputs": [tensor(name="nonsense")]},
        {"inputs": [tensor(name=1)]},
        {"inputs": [tensor(datatype="FP8")]},
        {"inputs": [tensor(datatype=["INT32"])]},
        {"inputs": [tensor(shape=[2])]},
        {"inputs": [tensor(shape=[-1])]},
        {"inputs": [tensor(shape=[1, 2])]},
        {"inputs": [tensor(shape=[10**9])]},
        {"inputs": [tensor(shape=[True])]},
        {"inputs": [tensor(shape="1")]},
        {"inputs": [tensor(data=["1"])]},
        {"inputs": [tensor(data=[1.5])]},
        {"inputs": [tensor(data=[10**40])]},
        {"inputs": [tensor(data=[None])]},
        {"inputs": [tensor(data=[9])]},
        {"inputs": [tensor(data=[True])]},
        {"inputs": [tensor(data=1)]},
        {"inputs": [tensor(), tensor()]},
        {"inputs": [tensor(data=[[1, 2]])]},
        {"inputs": [tensor(), tensor(name="sexe", shape=[2], data=[1, 2])]},
        {"inputs": [tensor()], "id": 7},
        {"inputs": [tensor()], "outputs": [{"name": "nonsense"}]},
        {"inputs": [tensor()], "outputs": "x"},
        {"inputs": [tensor(parameters={"binary_data_size": 4})]},
        {"inputs": [tensor(name="dep")]},
        {"inputs": [tensor(parameters={"binary_data_size": -1})]},
        [],
        1,
    ],
)
def test_malformed_requests_are_rejected(client: httpx.Client, document: Any) -> None:
    """422 with the reason."""
    answer = client.post(INFER, json=document)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]


@pytest.mark.parametrize(
    ("header_length", "content"),
    [
        ("5", b"{}"),
        ("-1", b"{}"),
        ("x", b"{}"),
        ("9" * 30, b"{}"),
        ("0", b"{}"),
        (b"\xb2", b"{}"),  # a superscript
        ("0" * 5000, b"{}"),
        ("1" + "0" * 5000, b"{}"),
        (None, b"\x00\x01"),
        (None, b"NaN"),
        (None, b"[" * 1000),
    ],
)
def test_malformed_framing_is_rejected(client: httpx.Client, header_length: str | bytes | None, content: bytes) -> None:
    """Wrong lengths, and bytes that are not JSON."""
    headers = {"Inference-Header-Content-Length": header_length} if header_length is not None else {}
    assert client.post(INFER, content=content, headers=headers).status_code == 422


@pytest.mark.parametrize(
    "raw",
    [b"", struct.pack("<I", 2**31), struct.pack("<I", 3) + b"59", struct.pack("<I", 2) + b"59x", b"\x01\x00"],
)
def test_wrong_lengths_of_binary_text(client: httpx.Client, raw: bytes) -> None:
    """Length prefixes are checked against the data."""
    entry = {"name": "dep", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}}
    head = httpx.Request("POST", "http://x", json={"inputs": [entry]}).content
    headers = {"Inference-Header-Content-Length": str(len(head))}
    assert client.post(INFER, content=head + raw, headers=headers).status_code == 422


def test_movies_support_the_protocol(tmp_path: Path) -> None:
    """Pairs of user and movie → predicted ratings, with fallbacks for unknown users and movies."""
    bundle = movie_bundle(3_000)
    promote(tmp_path, bundle)
    settings = Settings.load(home=tmp_path, auth_required=False)
    Warehouse(settings.database).upgrade()
    with live(create_app(settings, {"movies": LOADERS["movies"]})) as client:
        metadata = client.get("/v2/models/movies").json()
        assert [tensor["name"] for tensor in metadata["inputs"]] == ["user_id", "movie_id"]
        pairs = {"user_id": [1, 1, 10**9], "movie_id": [1, 2, 10**9]}
        inputs = [{"name": n, "shape": [3], "datatype": "INT64", "data": v} for n, v in pairs.items()]
        answer = client.post("/v2/models/movies/infer", json={"inputs": inputs}).json()
        stars = answer["outputs"][0]["data"]
        assert len(stars) == 3
        assert all(0.5 <= star <= 5 for star in stars)
        assert client.post("/v2/models/movies/infer", json={"inputs": inputs[:1]}).status_code == 422
        warehouse = Warehouse(settings.database)
        wait_for(lambda: len(prediction_log.prediction_window(warehouse, "movies")) == 3)


def test_without_a_token_only_health_is_open(client: httpx.Client) -> None:
    """Metadata and inference require the scope `predict`."""
    bare = httpx.Client(base_url=client.base_url)
    assert bare.get("/v2/health/ready").json() == {"ready": True}
    assert bare.get("/v2").status_code == 401
    assert bare.get("/v2/models/accidents").status_code == 401
    assert bare.post(INFER, json={"inputs": [tensor()]}).status_code == 401
