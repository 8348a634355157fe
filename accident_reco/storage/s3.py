"""Object store on an S3 API (AWS, SeaweedFS, MinIO): atomic uploads, swaps by conditional put."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any
from urllib.parse import urlsplit

from accident_reco.storage.objects import CHUNK, ObjectExists, ObjectNotFound, ObjectStore, StoreError, SwapConflict

CONFLICT_CODES = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
NOT_FOUND_CODES = {"NoSuchKey", "404", "NotFound"}
DENIED_CODES = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403"}
# An unreachable store must be reported within seconds: the client's retries multiply with those of s3fs.
CLIENT_CONFIG = {"connect_timeout": 3, "read_timeout": 30, "retries": {"total_max_attempts": 2, "mode": "standard"}}


class S3Store(ObjectStore):
    """`s3://bucket/prefix`; endpoint, region and keys by the standard `AWS_*` names."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        parts = urlsplit(self.url)
        self.bucket = parts.netloc
        self.prefix = parts.path.strip("/")
        if not self.bucket:
            raise StoreError(f"{url}: an s3:// URL names a bucket, as in s3://artifacts/platform")
        self._filesystem: Any = None

    @property
    def _fs(self) -> Any:
        if self._filesystem is None:
            import s3fs

            # Listings are never cached: other processes write, too.
            self._filesystem = s3fs.S3FileSystem(use_listings_cache=False, config_kwargs=CLIENT_CONFIG)
            self._filesystem.retries = 3
        return self._filesystem

    def _key(self, key: str) -> str:
        if key.startswith("/") or ".." in key.split("/"):
            raise StoreError(f"{key!r} leaves the object store")
        return f"{self.prefix}/{key}" if self.prefix else key

    @contextmanager
    def _translate_errors(self, key: str, operation: str) -> Iterator[None]:
        """Raise the client's errors as StoreError, chosen by the error code of the service."""
        from aiohttp import ClientError as WireError
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (OSError, BotoCoreError, ClientError, WireError) as error:
            code = _code(error)
            where = f"{self.url}/{key}"
            if code in CONFLICT_CODES:
                raise SwapConflict(f"{where} changed since it was read; read it and decide again") from None
            if code in NOT_FOUND_CODES:
                raise ObjectNotFound(f"{where} does not exist") from None
            hint = "check that AWS_ENDPOINT_URL answers"
            if code == "NoSuchBucket":
                hint = f"create the bucket {self.bucket} or correct the store's URL"
            elif code in DENIED_CODES:
                hint = f"check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and their rights on {self.bucket}"
            raise StoreError(f"{where}: {operation} failed: {code or error}; {hint}") from error

    def _call(self, method: str, key: str, **arguments: Any) -> Any:
        with self._translate_errors(key, method):
            return self._fs.call_s3(method, Bucket=self.bucket, Key=self._key(key), **arguments)

    def open(self, key: str) -> IO[bytes]:
        if not self.exists(key):
            raise ObjectNotFound(f"{self.url}/{key} does not exist")
        with self._translate_errors(key, "open"):
            return self._fs.open(f"{self.bucket}/{self._key(key)}", "rb", block_size=8 * CHUNK)

    def read(self, key: str) -> bytes:
        return self.read_tagged(key)[0]

    def write(self, key: str, data: bytes | IO[bytes]) -> None:
        if isinstance(data, bytes):
            self._call("put_object", key, Body=data)
            return
        with self._translate_errors(key, "write"):
            upload = self._fs.open(f"{self.bucket}/{self._key(key)}", "wb", block_size=8 * CHUNK)
        # A multipart upload that is not completed never becomes visible.
        try:
            while chunk := data.read(CHUNK):  # an error of the source is not translated
                with self._translate_errors(key, "write"):
                    upload.write(chunk)
            with self._translate_errors(key, "write"):
                upload.close()
        except BaseException:
            upload.closed = True  # otherwise the interpreter's exit tries to complete it, and hangs
            # Where the store cannot be reached, its own rule for unfinished uploads deletes the parts.
            with suppress(StoreError), self._translate_errors(key, "discard"):
                upload.discard()
            raise

    def create(self, key: str, data: bytes) -> str:
        try:
            return self.swap(key, data, None)
        except SwapConflict:
            raise ObjectExists(f"{self.url}/{key} already exists") from None

    def read_tagged(self, key: str) -> tuple[bytes, str]:
        with self._translate_errors(key, "read"):
            return self._fs_read(self._key(key))

    def _fs_read(self, key: str) -> tuple[bytes, str]:
        from fsspec.asyn import sync

        async def fetch() -> tuple[bytes, str]:
            response = await self._fs._call_s3("get_object", Bucket=self.bucket, Key=key)
            async with response["Body"] as body:
                return await body.read(), response["ETag"]

        return sync(self._fs.loop, fetch)

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        condition = {"IfNoneMatch": "*"} if expected is None else {"IfMatch": expected}
        writer = {"writer": secrets.token_hex(8)}
        try:
            return self._call("put_object", key, Body=data, Metadata=writer, **condition)["ETag"]
        except (SwapConflict, ObjectNotFound) as lost:
            # A retry after a lost response finds the object of the first attempt, which has the same `writer`.
            if self.exists(key):
                current = self._call("head_object", key)
                if current.get("Metadata") == writer:
                    return current["ETag"]
            raise SwapConflict(f"{self.url}/{key} changed since it was read; read it and decide again") from lost

    def exists(self, key: str) -> bool:
        try:
            self._call("head_object", key)
        except ObjectNotFound:
            # A response without a body does not distinguish a missing object from a missing bucket.
            with self._translate_errors(key, "list"):
                self._fs.call_s3("list_objects_v2", Bucket=self.bucket, MaxKeys=1)
            return False
        return True

    def list(self, prefix: str = "") -> list[str]:
        return sorted(self._list(prefix))

    def list_tagged(self) -> dict[str, str]:
        return dict(sorted(self._list("").items()))

    def _list(self, prefix: str) -> dict[str, str]:
        """Keys below a folder with their ETags, which are hashes of the content."""
        folder = self._key(prefix.strip("/")).rstrip("/")
        page: dict[str, Any] = {"Bucket": self.bucket, "Prefix": f"{folder}/" if folder else ""}
        found: dict[str, str] = {}
        while True:
            with self._translate_errors(prefix, "list"):
                response = self._fs.call_s3("list_objects_v2", **page)
            for item in response.get("Contents", []):
                if not item["Key"].endswith("/"):
                    found[item["Key"].removeprefix(f"{self.prefix}/") if self.prefix else item["Key"]] = item["ETag"]
            if not response.get("IsTruncated"):
                return found
            page["ContinuationToken"] = response["NextContinuationToken"]

    def delete(self, key: str) -> None:
        self._call("delete_object", key)


def _code(error: BaseException | None) -> str:
    """The error code of the service, which s3fs keeps in the cause; '' where there is none."""
    while error is not None:
        code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
        if code:
            return str(code)
        error = error.__cause__
    return ""
