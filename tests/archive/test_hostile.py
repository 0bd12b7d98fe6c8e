"""A flipped bit never becomes content, nor a missing file; made-up shards cost no more than their bytes."""

import random
import struct
import tracemalloc
from contextlib import suppress

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from storefs.archive.lookup import Lookup
from storefs.archive.reader import ArchiveReader
from storefs.archive.stores import Stores
from storefs.archive.verify import verify
from storefs.errors import Corrupt, ObjectMissing
from storefs.model import Codec, ObjectInfo
from storefs.ports import ObjectStore
from storefs.shard.index import parse_footer
from tests.archive.archives import DAY, File, place, same_route, shard_bytes
from tests.shard import golden

UIDS = same_route("a", 4)
TEXT = b"the same again, " * 12
BIG = random.Random(7).randbytes(300)
MISSING = same_route("a", 5)[4]

BYTES_PER_BYTE_MAX = 16
SLACK_BYTES = 1 << 20


def files(*, proven: bool = True) -> list[File]:
    return [
        File(UIDS[0], b"raw and short", Codec.NONE, proven),
        File(UIDS[1], TEXT, Codec.ZSTD, proven),
        File(UIDS[2], TEXT[1:], Codec.LZ4, proven),
        File(UIDS[3], BIG, block=100, proven=proven),
    ]


class One:
    """An archive of one shard and its big files, in memory and without waiting: tests read it thousands of times."""

    url = "memory://one"

    def __init__(self, body: bytes, beside: dict[str, bytes]) -> None:
        self.key = f"{place('a').prefix}0000.des"
        self.objects = {self.key: body, **beside}
        self.asked = 0

    async def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        if key not in self.objects:
            raise ObjectMissing(f"no object {key}")
        body = self.objects[key]
        found = body[start:] if length is None else body[start : start + length]
        self.asked += len(found)
        return found

    async def head(self, key: str) -> ObjectInfo:
        if key not in self.objects:
            raise ObjectMissing(f"no object {key}")
        return ObjectInfo(key, len(self.objects[key]), "", 0.0)

    async def list_after(self, prefix: str, after: str = "", limit: int = 1000) -> list[ObjectInfo]:
        return [await self.head(key) for key in sorted(self.objects) if key.startswith(prefix) and key > after][:limit]


class Inline:
    async def run(self, function, *args):
        return function(*args)


async def read_all(store: One) -> dict[str, bytes | str]:
    """Return what each get comes to: the content, "missing", or the fault, which names the shard."""
    outcomes: dict[str, bytes | str] = {}
    reader = ArchiveReader(store, Inline())
    for uid in [*UIDS, MISSING]:
        try:
            outcomes[uid] = await reader.get(uid, DAY)
        except Corrupt as error:
            outcomes[uid] = f"corrupt: {error}"
            if f"{store.key}: " in str(error):  # no entry is named: the index is bad, for all alike
                return dict.fromkeys([*UIDS, MISSING], outcomes[uid]) | outcomes
        except ObjectMissing:
            outcomes[uid] = "missing"
    return outcomes


def flipped(body: bytes, bit: int) -> bytes:
    damaged = bytearray(body)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


RIGHT = {one.uid: one.content for one in files()} | {MISSING: "missing"}


@pytest.mark.parametrize("sealed", [True, False])
def test_a_flipped_bit_anywhere(sealed):
    """What is right all the same: bits of a frame that decoders pass over, where the digest proves the content; bits of
    the seal's own name, without which there is no seal. Without one also bits of metas that leave JSON what it is.
    """
    body, beside = shard_bytes(files(), sealed=sealed)
    index_at = len(body) - 12 - parse_footer(body[-12:], len(body))
    frames = range(8 + len(RIGHT[UIDS[0]]), index_at)
    mark = body.find(b'"blake3_index":"')
    harmless = {*frames, *(range(mark, mark + 16) if sealed else range(index_at, len(body)))}
    right = []

    async def flip_all() -> None:
        for bit in range(len(body) * 8):
            store = One(flipped(body, bit), beside)
            outcomes = await read_all(store)
            wrong = {uid: outcome for uid, outcome in outcomes.items() if outcome != RIGHT[uid]}
            for uid, outcome in wrong.items():
                assert isinstance(outcome, str), f"bit {bit}: {uid} has other bytes"
                assert outcome.startswith("corrupt: "), f"bit {bit}: {uid} looks missing"
                assert store.key in outcome
                assert not 8 <= bit // 8 < index_at or uid in outcome
            if not wrong:
                right.append(bit // 8)

    trio.run(flip_all)
    assert set(right) <= harmless
    assert len(right) < len(body) * 8 * (0.05 if sealed else 0.25)


def test_a_flipped_bit_of_a_long_shard_that_nothing_reads():
    """The header of a shard of more than 64 KiB is not read by a get: verifying reads it."""
    rest = File(UIDS[1], random.Random(3).randbytes(100_000), Codec.NONE)
    body, beside = shard_bytes([files()[0], rest])

    async def check() -> None:
        for bit in range(64):
            store = One(flipped(body, bit), beside)
            assert await ArchiveReader(store, Inline()).get(UIDS[0], DAY) == b"raw and short"
            seen = await verify(Stores.single(store), Inline(), lambda *_: None)
            assert len(seen.proof.faults) == 1
            assert store.key in seen.proof.faults[0]

    trio.run(check)


def test_a_flipped_bit_of_a_big_file():
    body, beside = shard_bytes(files())
    ((key, content),) = beside.items()

    async def check() -> None:
        for bit in range(len(content) * 8):
            store = One(body, {key: flipped(content, bit)})
            with pytest.raises(Corrupt, match=rf"{store.key}, entry {UIDS[3]}: block {bit // 800} of {key}"):
                await ArchiveReader(store, Inline()).get(UIDS[3], DAY)

    trio.run(check)


def test_entries_without_digests_are_checked_as_far_as_it_goes():
    """LZ4 frames have a checksum. A raw payload has nothing: its bits are what they are."""
    body, beside = shard_bytes(files(proven=False))
    length = len(b"raw and short")

    async def check() -> None:
        for bit in range(8 * 8, (8 + length) * 8):
            content = await ArchiveReader(One(flipped(body, bit), beside), Inline()).get(UIDS[0], DAY)
            assert content != RIGHT[UIDS[0]]
        at = body.index(b"\x04\x22\x4d\x18")
        for bit in range(at * 8, (at + 20) * 8):
            with suppress(Corrupt):
                assert await ArchiveReader(One(flipped(body, bit), beside), Inline()).get(UIDS[2], DAY) == TEXT[1:]

    trio.run(check)


def test_a_changed_name_is_not_a_file_that_is_missing():
    """Without a seal it is the route that a name has to fit. A name that fits by chance is what the seal is for."""
    sealed, _ = shard_bytes(files())
    unsealed, _ = shard_bytes(files(), sealed=False)
    length = len(UIDS[1])
    others = (f"{number:x}".rjust(length, "x") for number in range(16**length))
    fitting = next(name for name in others if place(name) == place(UIDS[1]))

    async def outcome(body: bytes, uid: str) -> str:
        try:
            await ArchiveReader(One(body, {}), Inline()).get(uid, DAY)
        except (Corrupt, ObjectMissing) as error:
            return type(error).__name__
        return "content"

    async def check() -> None:
        for body in (sealed, unsealed):
            renamed = body.replace(UIDS[1].encode(), b"?" * len(UIDS[1]))
            assert await outcome(renamed, UIDS[1]) == "Corrupt"
        assert await outcome(sealed.replace(UIDS[1].encode(), fitting.encode()), UIDS[1]) == "Corrupt"
        assert await outcome(sealed.replace(UIDS[1].encode(), fitting.encode()), fitting) == "Corrupt"
        assert await outcome(unsealed.replace(UIDS[1].encode(), fitting.encode()), UIDS[1]) == "ObjectMissing"

    trio.run(check)


# --- made up ----------------------------------------------------------------------------------------------------------


async def read_everything(store: ObjectStore) -> None:
    """Read an archive in every way; all of it may be good, or Corrupt, and nothing else."""
    reader = ArchiveReader(store, Inline())
    for uid in UIDS:
        with suppress(Corrupt, ObjectMissing):
            await reader.get(uid, DAY)
        with suppress(Corrupt, ObjectMissing):
            await reader.get_range(uid, DAY, 3, 5)
    async with reader.get_many([(uid, DAY) for uid in UIDS]) as outcomes:
        async for one in outcomes:
            assert one.error is None or isinstance(one.error, Corrupt | ObjectMissing)
    with suppress(Corrupt):
        async for _ in reader.contents():
            pass
    await verify(Stores.single(store), Inline(), lambda *_: None)


@given(st.data())
@settings(deadline=None, max_examples=80)
def test_damage_is_corrupt_and_costs_no_memory(data):
    body = bytearray(shard_bytes(files(proven=data.draw(st.booleans())), sealed=False)[0])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        piece = data.draw(
            st.one_of(
                st.binary(min_size=1, max_size=8),
                st.sampled_from([1, 2, 4, 8]).map(lambda width: b"\xff" * width),
                st.integers(0, (1 << 64) - 1).map(lambda number: struct.pack("<Q", number)),
            )
        )
        body[at : at + len(piece)] = piece
    body = body[: data.draw(st.one_of(st.just(len(body)), st.integers(0, len(body))))]
    trio.run(read_everything, One(bytes(body), {}))


def of_route(*entries: bytes, payloads: bytes = b"") -> bytes:
    return golden.shard(payloads, golden.index(*entries))


NAME = UIDS[0].encode()
CLAIMS = {
    "count": golden.shard(b"", b"\xff\xff\xff\xff" + bytes(100_000)),
    "index size": golden.shard(b"", golden.index())[:-8] + struct.pack("<Q", 1 << 27),
    "raw size": of_route(golden.inline(NAME, 8, 1 << 40, 0, 1 << 40)),
    "zstd size": of_route(golden.inline(NAME, 8, len(golden.ZSTD_FRAME), 1, 1 << 40), payloads=golden.ZSTD_FRAME),
    "lz4 size": of_route(golden.inline(NAME, 8, len(golden.LZ4_FRAME), 2, 1 << 40), payloads=golden.LZ4_FRAME),
    "big size": of_route(golden.big_file(NAME, golden.BIG_SHA256.encode(), 1 << 50)),
    "big blocks": of_route(
        golden.big_file(NAME, golden.BIG_SHA256.encode(), 1 << 50, b'{"blake3_blocks":{"size":1,"digests":"AAAA"}}')
    ),
    "one big block": of_route(
        golden.big_file(
            NAME,
            golden.BIG_SHA256.encode(),
            1 << 50,
            b'{"blake3_blocks":{"size":%d,"digests":"%s="}}' % (1 << 60, b"A" * 43),
        )
    ),
    "overlapping": of_route(
        *[golden.inline(uid.encode(), 8, 100_000, 0, 100_000) for uid in same_route("a", 40)], payloads=bytes(100_000)
    ),
    "digest": of_route(golden.inline(NAME, 8, 1, 0, 1, b'{"blake3":"' + b"z" * 60_000 + b'"}'), payloads=b"x"),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_claims_cost_no_memory(claim):
    body = CLAIMS[claim]
    store = One(body, {f"_bigFiles/{golden.BIG_SHA256}": golden.TEXT})

    async def measure() -> int:
        await ArchiveReader(store, Inline()).exists("nobody", DAY)  # what Python itself takes at first
        tracemalloc.start()
        try:
            await read_everything(store)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert trio.run(measure) < len(body) * BYTES_PER_BYTE_MAX + SLACK_BYTES


def test_many_names_of_one_hash_are_found():
    """Names are told apart by more than their hash; the last of several that are the same counts."""
    uids = [str(256 * number) for number in range(3000)]
    entries = [golden.inline(uid.encode(), 8 + number, 1, 0, 1) for number, uid in enumerate(uids)]
    entries += [golden.inline(uid.encode(), 8, 1, 0, 1) for uid in uids[:10]]
    index = golden.index(*entries)
    lookup = Lookup(index, 2, 8 + 3000 + len(index) + 12, place("0"), 8, "shard x")
    assert len(lookup) == 3010
    assert [lookup.find(uid).offset for uid in uids] == [8] * 10 + list(range(18, 3008))
    assert lookup.find("7") is None
    assert [entry.name for entry in lookup] == uids[10:] + uids[:10]
    assert lookup.cost_bytes < len(index) + 9 * 3010
