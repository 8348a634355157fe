"""Object store on an S3 API (AWS, SeaweedFS, MinIO): uploads appear whole, swaps are conditional puts."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any
from urllib.parse import urlsplit

from accident_reco.storage.objects import CHUNK, ObjectExists, ObjectNotFound, ObjectStore, StoreError, SwapConflict

LOST_RACE = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
ABSENT = {"NoSuchKey", "404", "NotFound"}
REFUSED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403"}
# A store that is gone must be told within seconds: the client's own patience multiplies with that of s3fs.
PATIENCE = {"connect_timeout": 3, "read_timeout": 30, "retries": {"total_max_attempts": 2, "mode": "standard"}}


class S3Store(ObjectStore):
    """`s3://bucket/prefix`; endpoint, region and keys by the standard `AWS_*` names."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        parts = urlsplit(self.url)
        self.bucket = parts.netloc
        self.prefix = parts.path.strip("/")
        if not self.bucket:
            raise StoreError(f"{url}: an s3:// URL names a bucket, as in s3://artifacts/platform")
        self._made: Any = None

    @property
    def _fs(self) -> Any:
        if self._made is None:
            import s3fs

            # Listings are never cached: another process writes what we look for.
            self._made = s3fs.S3FileSystem(use_listings_cache=False, config_kwargs=PATIENCE)
            self._made.retries = 3
        return self._made

    def _key(self, key: str) -> str:
        if key.startswith("/") or ".." in key.split("/"):
            raise StoreError(f"{key!r} leaves the object store")
        return f"{self.prefix}/{key}" if self.prefix else key

    @contextmanager
    def _told(self, key: str, doing: str) -> Iterator[None]:
        """Turns what the client raises into our errors, by the service's own code."""
        from aiohttp import ClientError as WireError
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (OSError, BotoCoreError, ClientError, WireError) as error:
            code = _code(error)
            where = f"{self.url}/{key}"
            if code in LOST_RACE:
                raise SwapConflict(f"{where} changed since it was read; read it again and decide anew") from None
            if code in ABSENT:
                raise ObjectNotFound(f"{where} does not exist") from None
            hint = "check that AWS_ENDPOINT_URL answers"
            if code == "NoSuchBucket":
                hint = f"make the bucket {self.bucket} or correct the store's URL"
            elif code in REFUSED:
                hint = f"check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and their rights on {self.bucket}"
            raise StoreError(f"{where}: {doing} failed: {code or error}; {hint}") from error

    def _call(self, method: str, key: str, **arguments: Any) -> Any:
        with self._told(key, method):
            return self._fs.call_s3(method, Bucket=self.bucket, Key=self._key(key), **arguments)

    def open(self, key: str) -> IO[bytes]:
        if not self.exists(key):
            raise ObjectNotFound(f"{self.url}/{key} does not exist")
        with self._told(key, "open"):
            return self._fs.open(f"{self.bucket}/{self._key(key)}", "rb", block_size=8 * CHUNK)

    def read(self, key: str) -> bytes:
        return self.read_tagged(key)[0]

    def write(self, key: str, data: bytes | IO[bytes]) -> None:
        if isinstance(data, bytes):
            self._call("put_object", key, Body=data)
            return
        with self._told(key, "write"):
            upload = self._fs.open(f"{self.bucket}/{self._key(key)}", "wb", block_size=8 * CHUNK)
        # A multipart upload that is not completed never becomes visible.
        try:
            while chunk := data.read(CHUNK):  # an error of the source is not the store's: it passes as it is
                with self._told(key, "write"):
                    upload.write(chunk)
            with self._told(key, "write"):
                upload.close()
        except BaseException:
            upload.closed = True  # else the interpreter's exit would try to finish it, and hang
            # Where the store is gone, its own rule for unfinished uploads clears the parts.
            with suppress(StoreError), self._told(key, "discard"):
                upload.discard()
            raise

    def create(self, key: str, data: bytes) -> str:
        try:
            return self.swap(key, data, None)
        except SwapConflict:
            raise ObjectExists(f"{self.url}/{key} exists already") from None

    def read_tagged(self, key: str) -> tuple[bytes, str]:
        with self._told(key, "read"):
            return self._fs_read(self._key(key))

    def _fs_read(self, key: str) -> tuple[bytes, str]:
        from fsspec.asyn import sync

        async def fetch() -> tuple[bytes, str]:
            answer = await self._fs._call_s3("get_object", Bucket=self.bucket, Key=key)
            async with answer["Body"] as body:
                return await body.read(), answer["ETag"]

        return sync(self._fs.loop, fetch)

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        condition = {"IfNoneMatch": "*"} if expected is None else {"IfMatch": expected}
        writer = {"writer": secrets.token_hex(8)}
        try:
            return self._call("put_object", key, Body=data, Metadata=writer, **condition)["ETag"]
        except (SwapConflict, ObjectNotFound) as lost:
            # A retry after a lost answer meets the object that the first try wrote: it carries our mark.
            if self.exists(key):
                current = self._call("head_object", key)
                if current.get("Metadata") == writer:
                    return current["ETag"]
            raise SwapConflict(f"{self.url}/{key} changed since it was read; read it again and decide anew") from lost

    def exists(self, key: str) -> bool:
        try:
            self._call("head_object", key)
        except ObjectNotFound:
            # An answer without a body cannot say whether the object or the whole bucket is missing.
            with self._told(key, "looking"):
                self._fs.call_s3("list_objects_v2", Bucket=self.bucket, MaxKeys=1)
            return False
        return True

    def list(self, prefix: str = "") -> list[str]:
        folder = self._key(prefix.strip("/")).rstrip("/")
        page: dict[str, Any] = {"Bucket": self.bucket, "Prefix": f"{folder}/" if folder else ""}
        found: list[str] = []
        while True:
            with self._told(prefix, "list"):
                answer = self._fs.call_s3("list_objects_v2", **page)
            found += [item["Key"] for item in answer.get("Contents", []) if not item["Key"].endswith("/")]
            if not answer.get("IsTruncated"):
                return sorted(key.removeprefix(f"{self.prefix}/") if self.prefix else key for key in found)
            page["ContinuationToken"] = answer["NextContinuationToken"]

    def delete(self, key: str) -> None:
        self._call("delete_object", key)


def _code(error: BaseException | None) -> str:
    """The service's own word for what went wrong; s3fs hides it in the cause."""
    while error is not None:
        code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
        if code:
            return str(code)
        error = error.__cause__
    return ""
