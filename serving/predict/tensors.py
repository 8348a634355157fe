"""Tensors of the Open Inference Protocol v2: JSON and its binary extension from and to numpy."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from serving.common.problems import Problem
from serving.common.routing import parse_json

DTYPES: Final[Mapping[str, Any]] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}
_LENGTH: Final = re.compile(r"0*([0-9]{1,12})", re.ASCII)
MAX_TENSORS: Final = 200
MAX_NAME: Final = 64


@dataclass(frozen=True)
class TensorSpec:
    """Name and type of a tensor of a model; every tensor has one value per row, shape [-1].

    A tensor that is not `required` may be absent, and a value of it may be missing.
    """

    name: str
    datatype: str
    required: bool = True

    def document(self) -> dict[str, Any]:
        """The tensor as an entry of the metadata."""
        return {"name": self.name, "datatype": self.datatype, "shape": [-1]}


@dataclass(frozen=True)
class RequestedOutput:
    """An output that the request names."""

    name: str
    binary: bool


@dataclass(frozen=True)
class InferenceRequest:
    """A request: columns by name, all of the same length, and the outputs to return (None: all)."""

    id: str | None
    columns: dict[str, NDArray[Any]]
    outputs: Sequence[RequestedOutput] | None
    binary: bool = field(default=False)


class InvalidInference(Problem):
    """Problem 422 with the protocol's own member `error`, which its clients show."""

    def __init__(self, detail: str) -> None:
        super().__init__(422, detail, kind="invalid-inference", error=detail)


def parse_request(
    body: bytes, header_length: str | None, specs: Mapping[str, TensorSpec], max_rows: int
) -> InferenceRequest:
    """Parse the body of a request.

    Args:
        header_length: value of `Inference-Header-Content-Length`; the bytes after the JSON header are tensors.
        specs: input name → tensor of the model.

    Raises:
        InvalidInference: the body is not a valid request for these tensors.
    """
    if header_length is None:
        header, raw = body, b""
    else:
        # `isdigit` accepts superscripts, and `int` refuses thousands of digits, leading zeros included.
        length = _LENGTH.fullmatch(header_length)
        if length is None or int(length[1]) > len(body):
            raise InvalidInference("Inference-Header-Content-Length does not fit the body.")
        size = int(length[1])
        header, raw = body[:size], body[size:]
    document = parse_json(header)
    if not isinstance(document, dict):
        raise InvalidInference("The request must be a JSON object.")
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or not 1 <= len(inputs) <= MAX_TENSORS:
        raise InvalidInference(f"inputs must be a list of 1 to {MAX_TENSORS} tensors.")
    columns: dict[str, NDArray[Any]] = {}
    for entry in inputs:
        name, values, raw = _parse_tensor(entry, raw, specs, max_rows)
        if name in columns:
            raise InvalidInference(f"Input {name} occurs twice.")
        columns[name] = values
    if raw:
        raise InvalidInference("There is more binary data than the inputs declare.")
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1:
        raise InvalidInference("All inputs must have the same number of rows.")
    identity = document.get("id", "")
    if not isinstance(identity, str) or len(identity) > MAX_NAME:
        raise InvalidInference(f"id must be text of at most {MAX_NAME} characters.")
    parameters = document.get("parameters", {})
    if not isinstance(parameters, dict):
        raise InvalidInference("parameters must be an object.")
    return InferenceRequest(
        identity or None,
        columns,
        _parse_outputs(document.get("outputs", [])),
        parameters.get("binary_data_output") is True,
    )


def _as_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _parse_outputs(entries: Any) -> list[RequestedOutput] | None:
    if entries == []:
        return None
    if not isinstance(entries, list) or len(entries) > MAX_TENSORS:
        raise InvalidInference("outputs must be a list.")
    requested = []
    for entry in entries:
        name = _as_mapping(entry).get("name")
        if not isinstance(name, str) or len(name) > MAX_NAME:
            raise InvalidInference("Each output must have a name.")
        requested.append(RequestedOutput(name, _as_mapping(entry.get("parameters")).get("binary_data") is True))
    return requested


def _parse_tensor(
    entry: Any, raw: bytes, specs: Mapping[str, TensorSpec], max_rows: int
) -> tuple[str, NDArray[Any], bytes]:
    name, datatype, shape = (_as_mapping(entry).get(part) for part in ("name", "datatype", "shape"))
    if not isinstance(name, str) or name not in specs:
        raise InvalidInference(f"Inputs of this model are: {', '.join(specs)}.")
    if not isinstance(datatype, str) or datatype not in DTYPES:
        raise InvalidInference(f"Input {name}: datatype must be one of {', '.join(DTYPES)}.")
    if (
        not isinstance(shape, list)
        or len(shape) not in (1, 2)
        or not all(type(n) is int for n in shape)
        or (len(shape) == 2 and shape[1] != 1)
    ):
        raise InvalidInference(f"Input {name}: shape must be [n] or [n, 1].")
    n = shape[0]
    if not 1 <= n <= max_rows:
        raise InvalidInference(f"Input {name}: 1 to {max_rows} rows per call.")
    size = _as_mapping(entry.get("parameters")).get("binary_data_size")
    if size is not None:
        if type(size) is not int or not 0 <= size <= len(raw):
            raise InvalidInference(f"Input {name}: binary_data_size does not fit the body.")
        return name, _from_binary(name, datatype, n, raw[:size]), raw[size:]
    return name, _from_json(name, datatype, n, entry.get("data")), raw


def _from_binary(name: str, datatype: str, n: int, data: bytes) -> NDArray[Any]:
    if datatype == "BYTES":
        values, offset = [], 0
        for _ in range(n):
            if offset + 4 > len(data):
                raise InvalidInference(f"Input {name}: the binary data ends early.")
            (length,) = struct.unpack_from("<I", data, offset)
            offset += 4 + length
            if offset > len(data):
                raise InvalidInference(f"Input {name}: the binary data ends early.")
            values.append(data[offset - length : offset].decode("utf-8", "replace"))
        if offset != len(data):
            raise InvalidInference(f"Input {name}: there is more binary data than rows.")
        return np.array(values, dtype=object)
    dtype = np.dtype(DTYPES[datatype]).newbyteorder("<")
    if len(data) != n * dtype.itemsize:
        raise InvalidInference(f"Input {name}: {n} rows of {datatype} take {n * dtype.itemsize} bytes.")
    return np.frombuffer(data, dtype=dtype).astype(DTYPES[datatype])


def _from_json(name: str, datatype: str, n: int, data: Any) -> NDArray[Any]:
    if not isinstance(data, list) or len(data) != n:
        raise InvalidInference(f"Input {name}: data must be a list with as many values as its shape.")
    if all(isinstance(value, list) and len(value) == 1 for value in data):
        data = [value[0] for value in data]
    if datatype == "BYTES":
        is_valid = all(isinstance(value, str) for value in data)
    elif datatype == "BOOL":
        is_valid = all(isinstance(value, bool) for value in data)
    else:
        is_valid = all(isinstance(value, int | float) and not isinstance(value, bool) for value in data)
    if not is_valid:
        raise InvalidInference(f"Input {name}: data has values that are not {datatype}.")
    try:
        values = np.array(data, dtype=DTYPES[datatype])
    except (ValueError, TypeError, OverflowError):
        raise InvalidInference(f"Input {name}: data has values that are not {datatype}.") from None
    if datatype.startswith(("INT", "UINT")) and not np.array_equal(values, np.array(data, dtype=np.float64)):
        raise InvalidInference(f"Input {name}: data has values that are not {datatype}.")
    return values


def build_response(
    model: str, version: str, request: InferenceRequest, outputs: Mapping[str, tuple[str, NDArray[Any]]]
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of the response.

    Args:
        outputs: name → datatype and values of every output of the model.

    Raises:
        InvalidInference: the request names an unknown output.
    """
    requested = request.outputs or [RequestedOutput(name, request.binary) for name in outputs]
    entries, pieces = [], []
    for output in requested:
        if output.name not in outputs:
            raise InvalidInference(f"Outputs of this model are: {', '.join(outputs)}.")
        datatype, values = outputs[output.name]
        entry: dict[str, Any] = {"name": output.name, "datatype": datatype, "shape": [len(values)]}
        if output.binary:
            piece = _to_binary(datatype, values)
            entry["parameters"] = {"binary_data_size": len(piece)}
            pieces.append(piece)
        else:
            entry["data"] = [v if not isinstance(v, float) or math.isfinite(v) else None for v in values.tolist()]
        entries.append(entry)
    document: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": entries}
    if request.id is not None:
        document["id"] = request.id
    header = orjson.dumps(document)
    if not pieces:
        return header, {"content-type": "application/json"}
    return header + b"".join(pieces), {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(len(header)),
    }


def _to_binary(datatype: str, values: NDArray[Any]) -> bytes:
    if datatype != "BYTES":
        return values.astype(np.dtype(DTYPES[datatype]).newbyteorder("<")).tobytes()
    encoded = [str(value).encode() for value in values.tolist()]
    return b"".join(struct.pack("<I", len(value)) + value for value in encoded)
