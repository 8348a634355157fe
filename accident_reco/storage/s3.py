"""Object store on an S3 API (AWS, SeaweedFS, MinIO): uploads appear whole, swaps are conditional puts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any
from urllib.parse import urlsplit

from accident_reco.storage.objects import CHUNK, ObjectExists, ObjectNotFound, ObjectStore, StoreError, SwapConflict

LOST_RACE = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
ABSENT = {"NoSuchKey", "404", "NotFound"}


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
            self._made = s3fs.S3FileSystem(
                use_listings_cache=False, config_kwargs={"connect_timeout": 5, "read_timeout": 30}
            )
        return self._made

    def _key(self, key: str) -> str:
        if key.startswith("/") or ".." in key.split("/"):
            raise StoreError(f"{key!r} leaves the object store")
        return f"{self.prefix}/{key}" if self.prefix else key

    @contextmanager
    def _told(self, key: str, doing: str) -> Iterator[None]:
        """Turns what the client raises into our errors, by the service's own code."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (OSError, BotoCoreError, ClientError) as error:
            cause = error if isinstance(error, ClientError) else error.__cause__
            code = cause.response.get("Error", {}).get("Code", "") if isinstance(cause, ClientError) else ""
            where = f"{self.url}/{key}"
            if code in LOST_RACE:
                raise SwapConflict(f"{where} changed since it was read; read it again and decide anew") from None
            if code in ABSENT:
                raise ObjectNotFound(f"{where} does not exist") from None
            raise StoreError(
                f"{where}: {doing} failed: {code or error}: check the bucket, AWS_ENDPOINT_URL and the AWS_* keys"
            ) from error

    def _call(self, method: str, key: str, **arguments: Any) -> Any:
        with self._told(key, method):
            return self._fs.call_s3(method, Bucket=self.bucket, Key=self._key(key), **arguments)

    def open(self, key: str) -> IO[bytes]:
        self._call("head_object", key)
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
            try:
                shutil.copyfileobj(data, upload, CHUNK)
            except BaseException:
                upload.discard()  # a multipart upload that is not completed never becomes visible
                raise
            upload.close()

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
        try:
            return self._call("put_object", key, Body=data, **condition)["ETag"]
        except SwapConflict:
            # The client retries lost answers: then the object we meet is the one we wrote ourselves.
            current, tag = self.read_tagged(key)
            if current == data:
                return tag
            raise

    def exists(self, key: str) -> bool:
        try:
            self._call("head_object", key)
        except ObjectNotFound:
            return False
        return True

    def list(self, prefix: str = "") -> list[str]:
        base = f"{self.bucket}/{self._key(prefix)}".rstrip("/")
        with self._told(prefix, "list"):
            found = self._fs.find(base)
        skip = len(self.bucket) + 1 + (len(self.prefix) + 1 if self.prefix else 0)
        return sorted(name[skip:] for name in found)

    def delete(self, key: str) -> None:
        self._call("delete_object", key)
