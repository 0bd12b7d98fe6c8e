"""A store in a bucket. Every request is one boto3 call in a thread of this store's own limiter."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import Any, TypeVar

import trio
from botocore.exceptions import ClientError

from storefs.errors import ObjectMissing, PreconditionFailed
from storefs.model import ObjectInfo
from storefs.objects.bodies import body_size, open_body, span
from storefs.objects.names import check_key, check_prefix
from storefs.objects.s3.connect import connect
from storefs.objects.s3.faults import EXPECTED, by_code, explain
from storefs.objects.s3.multipart import Upload
from storefs.objects.s3.options import S3Options
from storefs.objects.s3.ranged import RangedGets
from storefs.objects.s3.window import Window
from storefs.ports import Body

T = TypeVar("T")

_BATCH = 1000
"""The most keys S3 lists or deletes with one request."""

_PARTIAL = 206
_PLAIN_RANGE_BYTES = 64 << 10
"""Ranges from here on are worth asking for without the client's machinery."""

_RANGE_NOT_SATISFIABLE = 416


class S3Objects:
    """An ``ObjectStore`` in a bucket, each request tried once (``RetryingObjects`` tries again).

    A request that is cancelled is abandoned: its thread ends by itself, within the timeouts of ``options``, and a put
    may still be applied. Making an instance blocks while credentials are looked for, and raises UsageError.
    """

    def __init__(self, options: S3Options) -> None:
        self._options = options
        self._root = f"{options.prefix.strip('/')}/".lstrip("/")
        self._client, self._provenance = connect(options)
        self._ranged = RangedGets(self._client, options)
        self._limiter = trio.CapacityLimiter(options.connections)
        self._bucket_seen = False

    @property
    def url(self) -> str:
        """``s3://bucket/prefix``."""
        return self._options.url

    async def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return part of an object; see the port."""
        address = self._address(key)
        if length == 0:
            await self.head(key)
            return b""
        asked = _range(start, length)
        if asked:
            address["Range"] = asked

        def work() -> bytes:
            if length is not None and length >= _PLAIN_RANGE_BYTES:
                plain = self._ranged.get(self._root + check_key(key), start, start + length - 1)
                if plain is not None:
                    return plain
            try:
                answer = self._client.get_object(**address)
            except ClientError as error:
                if _status(error.response) == _RANGE_NOT_SATISFIABLE:
                    return b""
                raise
            with closing(answer["Body"]) as stream:
                content: bytes = stream.read()
            if asked and _status(answer) != _PARTIAL:  # some servers send everything instead
                first, end = span(len(content), start, length)
                return content[first:end]
            return content

        return await self._ask(f"get {key}", work)

    async def get_into(self, key: str, start: int, memory: memoryview) -> int:
        """Fill ``memory`` with part of an object."""
        if len(memory) >= _PLAIN_RANGE_BYTES:
            fill = partial(self._ranged.fill, self._root + check_key(key), start, memory)
            if await self._ask(f"get {key}", fill):
                return len(memory)
        content = await self.get(key, start, len(memory))
        memory[: len(content)] = content
        return len(content)

    async def put(self, key: str, body: Body) -> str:
        """Write the object, replacing any other."""
        return await self._put(key, body, {})

    async def put_if_absent(self, key: str, body: Body) -> str:
        """Write the object unless the key exists. Raises PreconditionFailed."""
        return await self._put(key, body, {"IfNoneMatch": "*"})

    async def put_if_match(self, key: str, body: Body, tag: str) -> str:
        """Replace the object if its tag is still ``tag``. Raises PreconditionFailed."""
        try:
            return await self._put(key, body, {"IfMatch": tag})
        except ObjectMissing as error:
            raise PreconditionFailed(str(error)) from error

    async def head(self, key: str) -> ObjectInfo:
        """Describe the object. Raises ObjectMissing."""
        address = self._address(key)
        try:
            answer = await self._ask(f"head {key}", partial(self._client.head_object, **address))
        except ObjectMissing:
            # The answer to HEAD has no body, so a missing bucket looks like a missing object.
            if not self._bucket_seen:
                await self.list_after("", limit=1)
            raise
        return ObjectInfo(
            key=key,
            size=int(answer["ContentLength"]),
            tag=str(answer["ETag"]),
            modified_s=answer["LastModified"].timestamp(),
        )

    async def list_after(self, prefix: str, after: str = "", limit: int = 1000) -> list[ObjectInfo]:
        """Return the next page of a listing; see the port. Markers of folders (keys that end in ``/``) are left out."""
        found: list[ObjectInfo] = []
        query = {"Bucket": self._options.bucket, "Prefix": self._root + check_prefix(prefix)} | self._options.payer
        if after:
            query["StartAfter"] = self._root + after
        while len(found) < limit:
            more = query | {"MaxKeys": min(_BATCH, limit - len(found))}
            page = await self._ask(f"list {prefix}", partial(self._client.list_objects_v2, **more))
            found += [self._info(entry) for entry in page.get("Contents", []) if not entry["Key"].endswith("/")]
            if not page.get("IsTruncated"):
                break
            query["ContinuationToken"] = page["NextContinuationToken"]
        return found

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove the objects; a key that does not exist is no error. Every batch is tried before an error is raised."""
        failures: list[dict[str, str]] = []
        names = [self._root + check_key(key) for key in keys]
        for begin in range(0, len(names), _BATCH):
            batch = [{"Key": name} for name in names[begin : begin + _BATCH]]
            request = {
                "Bucket": self._options.bucket,
                "Delete": {"Objects": batch, "Quiet": True},
            } | self._options.payer
            answer = await self._ask(f"delete {len(batch)} objects", partial(self._client.delete_objects, **request))
            failures += [error for error in answer.get("Errors", []) if error.get("Code") != "NoSuchKey"]
        if failures:
            first = failures[0]
            what = f"delete {first.get('Key', '')} (and {len(failures) - 1} more) at {self.url}"
            raise by_code(first.get("Code", ""), first.get("Message", ""), 0, what, self._provenance)

    async def drop_unfinished(self, before_s: float, *, dry_run: bool = False) -> int:
        """Abort multipart uploads below the prefix that began before a time; return how many there were."""
        query = {"Bucket": self._options.bucket, "Prefix": self._root}
        dropped = 0
        while True:
            page = await self._ask("list uploads", partial(self._client.list_multipart_uploads, **query))
            for upload in page.get("Uploads", []):
                if upload["Initiated"].timestamp() < before_s:
                    dropped += 1
                    if not dry_run:
                        await self._abort(upload["Key"], upload["UploadId"])
            if not page.get("IsTruncated"):
                return dropped
            query |= {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    async def _abort(self, key: str, upload: str) -> None:
        address = {"Bucket": self._options.bucket, "Key": key, "UploadId": upload}
        with suppress(ObjectMissing):  # it ended meanwhile
            await self._ask(f"give up upload of {key}", partial(self._client.abort_multipart_upload, **address))

    async def close(self) -> None:
        """Close the connections."""
        await trio.to_thread.run_sync(self._client.close, limiter=self._limiter)

    async def _put(self, key: str, body: Body, condition: dict[str, str]) -> str:
        """Write the object in one piece or in parts, if ``condition`` holds."""
        address = {"Bucket": self._options.bucket, "Key": self._root + check_key(key)}
        size = body_size(body)
        if size > self._options.multipart_above:
            return await Upload(self._client, self._ask, self._options, address, condition, body).run()

        def work() -> str:
            request = address | self._options.written | condition
            if isinstance(body, bytes):
                return str(self._client.put_object(Body=body, **request)["ETag"])
            with Window(open_body(body), 0, size) as stream:
                return str(self._client.put_object(Body=stream, **request)["ETag"])

        return await self._ask(f"put {key}", work)

    async def _ask(self, doing: str, work: Callable[[], T]) -> T:
        """Return ``work()``, done in a thread; its errors are those of storefs."""
        try:
            answer = await trio.to_thread.run_sync(work, limiter=self._limiter, abandon_on_cancel=True)
        except EXPECTED as error:
            raise explain(error, doing, self.url, self._provenance) from error
        self._bucket_seen = True
        return answer

    def _address(self, key: str) -> dict[str, str]:
        """Return the parameters that name an object to be read."""
        return {"Bucket": self._options.bucket, "Key": self._root + check_key(key)} | self._options.payer

    def _info(self, entry: dict[str, Any]) -> ObjectInfo:
        """Describe an entry of a listing."""
        return ObjectInfo(
            key=entry["Key"].removeprefix(self._root),
            size=int(entry["Size"]),
            tag=str(entry["ETag"]),
            modified_s=entry["LastModified"].timestamp(),
        )


def _range(start: int, length: int | None) -> str:
    """Return the Range header for a get, empty for all of an object."""
    assert start >= 0 or length is None, "a start counted from the end has no length"
    if start < 0:
        return f"bytes={start}"
    if length is None:
        return f"bytes={start}-" if start else ""
    return f"bytes={start}-{start + length - 1}"


def _status(answer: Mapping[str, Any]) -> int:
    """Return the HTTP status of an answer."""
    return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
