"""The S3 adapter against a real server: refusals, absences, long bodies, restarts."""

import dataclasses
import hashlib
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import trio
from botocore.exceptions import EndpointConnectionError

from storefs.core.backoff import Backoff
from storefs.errors import (
    ObjectMissing,
    PreconditionFailed,
    StoreError,
    StorefsError,
    StoreRefused,
    StoreUnavailable,
    UsageError,
)
from storefs.objects.retry import RetryingObjects
from storefs.objects.s3.client import S3Objects
from storefs.objects.s3.connect import connect
from storefs.objects.s3.options import S3Options
from storefs.ports import Chance
from storefs.testing.s3server import S3Server

pytestmark = pytest.mark.s3

MIB = 1 << 20


async def every_call(store: S3Objects, kind: type[StorefsError], text: str) -> None:
    """Check that every call on ``store`` ends in ``kind``."""
    calls = {
        "get": lambda: store.get("key"),
        "head": lambda: store.head("key"),
        "put": lambda: store.put("key", b"x"),
        "put_if_absent": lambda: store.put_if_absent("key", b"x"),
        "put_if_match": lambda: store.put_if_match("key", b"x", '"tag"'),
        "list_after": lambda: store.list_after(""),
        "delete": lambda: store.delete(["key"]),
    }
    for name, call in calls.items():
        with pytest.raises(kind, match=text) as failed:
            await call()
        assert type(failed.value) is kind, name
    await store.close()


async def test_a_wrong_secret_key_is_refused(
    s3_bucket: S3Options, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    store = S3Objects(s3_bucket)
    with pytest.raises(StoreRefused, match="found by 'env'") as refused:
        await store.list_after("")
    assert "secret key" in str(refused.value)
    assert "wrong" not in str(refused.value)
    assert s3_server.secret_key not in str(refused.value)
    await every_call(store, StoreRefused, "environment")


async def test_an_unknown_access_key_is_refused(s3_bucket: S3Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    await every_call(S3Objects(s3_bucket), StoreRefused, "credentials")


async def test_no_credentials_at_all(s3_bucket: S3Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    await every_call(S3Objects(s3_bucket), StoreRefused, "found none")


async def test_a_missing_bucket_is_named(s3_bucket: S3Options) -> None:
    store = S3Objects(dataclasses.replace(s3_bucket, bucket="no-such-bucket"))
    with pytest.raises(StoreError, match=r"s3://no-such-bucket/.*: the bucket does not exist") as failed:
        await store.head("key")
    assert not isinstance(failed.value, ObjectMissing)
    for call in (store.get("key"), store.put("key", b"x"), store.list_after("")):
        with pytest.raises(StoreError, match="the bucket does not exist"):
            await call
    await store.close()


async def test_a_closed_port_is_no_answer(s3_bucket: S3Options) -> None:
    await every_call(
        S3Objects(dataclasses.replace(s3_bucket, endpoint_url="http://127.0.0.1:9")), StoreUnavailable, "127.0.0.1:9"
    )


async def test_a_silent_server_is_given_up(s3_bucket: S3Options) -> None:
    with trio.socket.socket() as listener:
        await listener.bind(("127.0.0.1", 0))
        listener.listen()
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        store = S3Objects(dataclasses.replace(s3_bucket, endpoint_url=endpoint, read_timeout_s=0.2))
        with pytest.raises(StoreUnavailable):
            await store.get("key")
        await store.close()


@pytest.mark.parametrize("wrong", [{"profile": "no-such-profile"}, {"endpoint_url": "not a url"}])
def test_impossible_options_are_the_user_s_fault(s3_bucket: S3Options, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="s3://tests/"):
        S3Objects(dataclasses.replace(s3_bucket, **wrong))


async def test_a_long_file_is_sent_in_parts(s3_bucket: S3Options, tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    path = tmp_path / "long"
    with path.open("wb") as file:
        for _ in range(70):
            file.write(dice.randbytes(MIB))
    store = S3Objects(s3_bucket)
    tag = await store.put_if_absent("shard", path)
    info = await store.head("shard")
    assert (info.size, info.tag) == (70 * MIB, tag)
    seen = hashlib.sha256()
    for start in range(0, 70 * MIB, 8 * MIB):
        seen.update(await store.get("shard", start, 8 * MIB))
    with path.open("rb") as file:
        assert seen.digest() == hashlib.file_digest(file, "sha256").digest()
    with pytest.raises(PreconditionFailed):
        await store.put_if_absent("shard", path)
    assert uploads(s3_bucket) == []
    await store.close()


@pytest.mark.parametrize("broken", ["upload_part", "get_paginator", "complete_multipart_upload"])
async def test_an_upload_that_fails_leaves_nothing(
    s3_bucket: S3Options, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    store = S3Objects(dataclasses.replace(s3_bucket, multipart_above=11 * MIB, part_bytes=5 * MIB))
    works = getattr(store._client, broken)

    def fail(*args: object, **request: Any) -> object:
        if request.get("PartNumber") == 1:
            return works(*args, **request)
        raise EndpointConnectionError(endpoint_url="http://gone")

    monkeypatch.setattr(store._client, broken, fail)
    with pytest.raises(StoreUnavailable):
        await store.put("key", bytes(12 * MIB))
    assert uploads(s3_bucket) == []
    assert await store.list_after("") == []
    await store.close()


async def test_a_part_that_was_cut_is_noticed(s3_bucket: S3Options, monkeypatch: pytest.MonkeyPatch) -> None:
    store = S3Objects(dataclasses.replace(s3_bucket, multipart_above=11 * MIB, part_bytes=5 * MIB))
    works = store._client.upload_part

    def cut(**request: Any) -> object:
        return works(**request | {"Body": request["Body"].read()[:-1]})

    monkeypatch.setattr(store._client, "upload_part", cut)
    with pytest.raises(StoreUnavailable, match=f"3 parts of {12 * MIB} bytes, but the store holds 3 of {12 * MIB - 3}"):
        await store.put("key", bytes(12 * MIB))
    assert await store.list_after("") == []
    await store.close()


async def test_a_cancelled_upload_is_given_up(s3_bucket: S3Options, monkeypatch: pytest.MonkeyPatch) -> None:
    store = S3Objects(dataclasses.replace(s3_bucket, multipart_above=11 * MIB, part_bytes=5 * MIB))
    begun, released = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    def hang(**request: Any) -> object:
        token.run_sync_soon(begun.set)
        released.wait(20)
        raise EndpointConnectionError(endpoint_url="http://gone")

    monkeypatch.setattr(store._client, "upload_part", hang)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.put, "key", bytes(12 * MIB))
        await begun.wait()
        nursery.cancel_scope.cancel()
    assert uploads(s3_bucket) == []
    released.set()
    await store.close()


async def test_more_keys_than_one_request_takes(s3_bucket: S3Options) -> None:
    store = S3Objects(s3_bucket)
    keys = [f"many/{number:04d}" for number in range(1005)]
    async with trio.open_nursery() as nursery:
        for key in keys:
            nursery.start_soon(store.put, key, b"")
    assert [info.key for info in await store.list_after("", limit=2000)] == keys
    assert len(await store.list_after("")) == 1000
    await store.delete(keys)
    assert await store.list_after("") == []
    await store.close()


async def test_keys_that_cannot_be_deleted_are_named(s3_bucket: S3Options, monkeypatch: pytest.MonkeyPatch) -> None:
    store = S3Objects(s3_bucket)

    def refuse(**request: Any) -> object:
        names = [entry["Key"] for entry in request["Delete"]["Objects"]]
        return {"Errors": [{"Key": name, "Code": "AccessDenied", "Message": "no"} for name in names[:2]]}

    monkeypatch.setattr(store._client, "delete_objects", refuse)
    with pytest.raises(StoreRefused, match=r"/a \(and 1 more\)"):
        await store.delete(["a", "b", "c"])
    await store.close()


async def test_a_server_that_went_away_comes_back_with_everything(
    s3_bucket: S3Options, s3_server: S3Server, chance: Chance
) -> None:
    bare = S3Objects(s3_bucket)
    store = RetryingObjects(bare, chance, Backoff(tries=100), deadline_s=60.0)
    tag = await store.put("before", b"1")
    s3_server.stop()
    try:
        with pytest.raises(StoreUnavailable):
            await bare.get("before")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.put_if_absent, "during", b"2")
            await trio.to_thread.run_sync(s3_server.start)
    finally:
        s3_server.start()
    assert (await store.head("before")).tag == tag
    assert await store.get("during") == b"2"
    await store.close()


async def test_options_that_mark_what_is_written(s3_bucket: S3Options, monkeypatch: pytest.MonkeyPatch) -> None:
    options = dataclasses.replace(
        s3_bucket, sse="aws:kms", kms_key="k", storage_class="STANDARD_IA", request_payer=True, multipart_above=10
    )
    store = S3Objects(options)
    asked: dict[str, dict[str, Any]] = {}

    def record(params: dict[str, Any], model: Any, **_: object) -> None:
        asked[model.name] = dict(params["headers"])

    store._client.meta.events.register("before-call.s3", record)
    for body in (b"short", b"longer than ten"):
        with pytest.raises(StorefsError):  # this server knows no KMS
            await store.put("key", body)
    for name in ("PutObject", "CreateMultipartUpload"):
        assert asked[name]["x-amz-server-side-encryption"] == "aws:kms"
        assert asked[name]["x-amz-server-side-encryption-aws-kms-key-id"] == "k"
        assert asked[name]["x-amz-storage-class"] == "STANDARD_IA"
        assert asked[name]["x-amz-request-payer"] == "requester"
    await store.close()


async def test_bodies_are_left_out_of_signatures(s3_bucket: S3Options) -> None:
    store = S3Objects(s3_bucket)
    sent: list[str] = []
    store._client.meta.events.register(
        "before-send.s3", lambda request, **_: sent.append(request.headers["X-Amz-Content-SHA256"].decode())
    )
    await store.put("short", b"body")
    await store.put_if_absent("once", b"body")
    await store.close()
    assert sent == ["UNSIGNED-PAYLOAD"] * 2


def test_importing_stores_loads_no_boto3() -> None:
    modules = "storefs.objects, storefs.objects.retry, storefs.objects.directory, storefs.objects.s3.options"
    program = f"import sys, {modules}; print([name for name in sys.modules if 'boto' in name or 'urllib3' in name])"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def uploads(options: S3Options) -> list[str]:
    """Return the keys of unfinished uploads below the prefix."""
    client, _ = connect(options)
    try:
        answer = client.list_multipart_uploads(Bucket=options.bucket)
        return [found["Key"] for found in answer.get("Uploads", []) if found["Key"].startswith(options.prefix)]
    finally:
        client.close()


async def test_long_ranges_come_whole_and_by_the_short_way(
    s3_bucket: S3Options, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    data = random.Random(seed).randbytes(3 << 20)
    store = S3Objects(s3_bucket)
    try:
        await store.put("folder/a key with ümlaut", data)
        asked: list[str] = []
        ordinary = store._client.get_object
        monkeypatch.setattr(store._client, "get_object", lambda **query: asked.append("long way") or ordinary(**query))
        assert await store.get("folder/a key with ümlaut", 1000, 2 << 20) == data[1000:][: 2 << 20]
        assert asked == []
        # What is not all there takes the long way, which knows what that means.
        assert await store.get("folder/a key with ümlaut", (3 << 20) - 10, 1 << 20) == data[-10:]
        assert await store.get("folder/a key with ümlaut", 4 << 20, 1 << 20) == b""
        with pytest.raises(ObjectMissing):
            await store.get("folder/missing", 0, 1 << 20)
        assert len(asked) == 3
        memory = memoryview(bytearray(2 << 20))
        assert await store.get_into("folder/a key with ümlaut", 1000, memory) == 2 << 20
        assert memory == data[1000:][: 2 << 20]
        assert len(asked) == 3
        store._ranged._signer = None  # as if botocore had moved it
        assert await store.get("folder/a key with ümlaut", 0, 1 << 20) == data[: 1 << 20]
        assert await store.get_into("folder/a key with ümlaut", 0, memory) == 2 << 20
        assert memory == data[: 2 << 20]
    finally:
        await store.close()


async def test_uploads_that_were_never_completed_are_given_up(s3_bucket: S3Options) -> None:
    store = S3Objects(s3_bucket)
    key = f"{s3_bucket.prefix}/cut-off"
    for name in (key, f"{s3_bucket.prefix}-beside/other"):
        begun = store._client.create_multipart_upload(Bucket=s3_bucket.bucket, Key=name)
        store._client.upload_part(
            Bucket=s3_bucket.bucket, Key=name, UploadId=begun["UploadId"], PartNumber=1, Body=b"x" * 100
        )
    now_s = time.time()
    assert await store.drop_unfinished(now_s - 3600) == 0, "too young"
    assert await store.drop_unfinished(now_s + 3600, dry_run=True) == 1
    assert await store.drop_unfinished(now_s + 3600) == 1
    assert await store.drop_unfinished(now_s + 3600) == 0
    await store.close()
