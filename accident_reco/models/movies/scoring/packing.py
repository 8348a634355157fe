"""Arrays and texts as bytes: the npz of a movie bundle, written deterministically, read without pickles."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np

FILE = "arrays.npz"
MAX_GENRES = 63


def write_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The arrays as the bytes of an `.npz`; the same arrays give the same bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            # A fixed date, so that the version of a model does not depend on the time of day.
            with archive.open(
                zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0)), "w", force_zip64=True
            ) as entry:
                np.lib.format.write_array(
                    entry, np.ascontiguousarray(arrays[name]).reshape(arrays[name].shape), allow_pickle=False
                )
    return stream.getvalue()


def read_arrays(content: bytes) -> dict[str, np.ndarray]:
    """Arrays from the bytes of an `.npz`. Raises ValueError for anything that needs a pickle."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def encode_genres(genres: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Genre names, sorted, and the genres of each movie as bits of a uint64. Raises ValueError above `MAX_GENRES`."""
    names = sorted({name for text in genres for name in text.split("|") if name})
    if len(names) > MAX_GENRES:
        raise ValueError(f"{len(names)} genres, at most {MAX_GENRES} are supported; is the genres column free text?")
    bit = {name: np.uint64(1) << np.uint64(number) for number, name in enumerate(names)}
    bits = np.zeros(len(genres), dtype=np.uint64)
    cache: dict[str, np.uint64] = {"": np.uint64(0)}
    for row, text in enumerate(genres):
        if text not in cache:
            cache[text] = np.bitwise_or.reduce(np.array([bit[name] for name in text.split("|") if name]))
        bits[row] = cache[text]
    return names, bits


def pack_texts(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Texts as one array of UTF-8 bytes and the end of each: no objects, no padding."""
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([len(part) for part in encoded], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), ends


def unpack_texts(content: np.ndarray, ends: np.ndarray) -> list[str]:
    """Inverse of `pack_texts`."""
    data, start, texts = content.tobytes(), 0, []
    for end in ends.tolist():
        texts.append(data[start:end].decode())
        start = end
    return texts
