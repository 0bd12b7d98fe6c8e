"""What a read costs at a real S3 server, counted in front of the store and in front of the server."""

import dataclasses
import random

import pytest

from storefs.archive.reader import ArchiveReader
from storefs.objects.s3.client import S3Objects
from tests.archive.archives import DAY, Counting, File, put
from tests.archive.proxy import proxy

pytestmark = pytest.mark.s3


async def test_a_cold_read_costs_a_listing_and_three_ranges_and_a_warm_one_a_range(s3_bucket, s3_server, seed, offload):
    uids = [str(256 * number) for number in range(1500)]
    files = [File(uid, random.Random(seed + at).randbytes(400)) for at, uid in enumerate(uids)]
    direct = S3Objects(s3_bucket)
    key = await put(direct, files)
    async with proxy(s3_server.endpoint) as seen:
        store = Counting(S3Objects(dataclasses.replace(s3_bucket, endpoint_url=seen.endpoint)))
        reader = ArchiveReader(store, offload)
        assert await reader.get(uids[7], DAY) == files[7].content
        listing, *ranges = seen.take()
        assert [one[0] for one in store.take()] == ["list", "get", "get", "get"]
        assert listing[0] == "GET"
        assert "list-type=2" in listing[1]
        assert len(ranges) == 3
        assert all(method == "GET" and path.split("?")[0].endswith(key) for method, path, _ in ranges)
        assert ranges[-1][2] == f"bytes={8 + 7 * 400}-{8 + 8 * 400 - 1}"
        for at in range(20):
            assert await reader.get(uids[at], DAY) == files[at].content
            assert len(seen.take()) == 1
            assert [one[0] for one in store.take()] == ["get"]
        async with reader.get_many([(uid, DAY) for uid in uids[100:200]]) as outcomes:
            assert {one.uid: one.content async for one in outcomes} == {one.uid: one.content for one in files[100:200]}
        assert len(seen.take()) == 1
        await store.close()
    await direct.close()
