"""Zones files: what is right is read, what is wrong is named; and files come from the zone of their route."""

import json
from pathlib import Path

import pytest

from storefs.archive import zones
from storefs.archive.reader import ArchiveReader
from storefs.archive.routing import route_index
from storefs.archive.stores import Part, Stores
from storefs.archive.verify import verify
from storefs.archive.zones import Bucket
from storefs.errors import ObjectMissing, UsageError
from storefs.objects.memory import MemoryObjects
from tests.archive.archives import DAY, Counting, File, put_all

DOCUMENT = """
n_bits: 8
zones:
  - name: zone-a
    range: { start: 0, end: 127 }
    s3:
      bucket: des-zone-a
      region_name: us-east-1
      endpoint_url: https://s3.example.com
      prefix: des-a/
  - name: zone-b
    range: { start: 128, end: 255 }
    path: beside
"""


def zone(name: str = "a", start: object = 0, end: object = 255, **more: object) -> dict[str, object]:
    return {"name": name, "range": {"start": start, "end": end}, **(more or {"path": "/a"})}


def written(tmp_path: Path, document: object) -> Path:
    path = tmp_path / "zones.json"
    path.write_text(json.dumps(document))
    return path


def test_a_document_is_read(tmp_path):
    path = tmp_path / "zones.yaml"
    path.write_text(DOCUMENT)
    found = zones.load(path)
    first, second = found.zones
    assert found.n_bits == 8
    assert (first.name, first.routes, second.name, second.routes) == ("zone-a", range(128), "zone-b", range(128, 256))
    assert first.place == Bucket("des-zone-a", "des-a", "us-east-1", "https://s3.example.com")
    assert second.place == tmp_path / "beside"


def test_json_is_read_too_in_any_order(tmp_path):
    document = {
        "n_bits": 4,
        "zones": [zone("b", 8, 15), zone("a", 0, 7, s3={"bucket": "b", "prefix": None, "region_name": None})],
    }
    found = zones.load(written(tmp_path, document))
    assert [(one.name, one.routes) for one in found.zones] == [("a", range(8)), ("b", range(8, 16))]
    assert found.zones[0].place == Bucket("b")
    as_yaml = tmp_path / "zones.yml"
    as_yaml.write_text(json.dumps(document))
    assert zones.load(as_yaml) == found


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], r"the file must be a mapping, not \[\]"),
        ({}, "'zones' is missing"),
        ({"zones": []}, "one zone at least"),
        ({"zones": "a"}, "one zone at least"),
        ({"zones": [zone()], "bits": 8}, "no key 'bits'; there are: n_bits, zones"),
        ({"zones": [zone()], "n_bits": 3}, "n_bits is 4 to 16, not 3"),
        ({"zones": [zone()], "n_bits": "8"}, "n_bits must be a whole number, not '8'"),
        ({"zones": [zone()], "n_bits": True}, "n_bits must be a whole number, not True"),
        ({"zones": ["a"]}, "zone 1 must be a mapping, not 'a'"),
        ({"zones": [{"name": "a", "path": "/a"}]}, "zone 1: 'range' is missing"),
        ({"zones": [zone(path="/a", weight=1)]}, "zone 1: there is no key 'weight'"),
        ({"zones": [zone("")]}, "zone 1: name must be a text, not ''"),
        ({"zones": [zone(7)]}, "zone 1: name must be a text, not 7"),
        ({"zones": [zone(end=256)]}, "zone 'a': its range 0 to 256 must lie in 0 to 255, for n_bits is 8"),
        ({"zones": [zone(start=-1)]}, "zone 'a': its range -1 to 255"),
        ({"zones": [zone(start=9, end=8)]}, "zone 'a': its range 9 to 8"),
        ({"zones": [zone(end=1.5)]}, "zone 'a': end must be a whole number, not 1.5"),
        ({"zones": [{"name": "a", "range": {"start": 0}, "path": "/a"}]}, "zone 'a': range: 'end' is missing"),
        ({"zones": [zone(path="/a", s3={"bucket": "b"})]}, "zone 'a': it needs either 's3' or 'path'"),
        ({"zones": [zone(s3={"prefix": "p"})]}, "zone 'a': s3: 'bucket' is missing"),
        ({"zones": [zone(s3={"bucket": None})]}, "zone 'a': s3: bucket must be a text"),
        ({"zones": [zone(s3={"bucket": "b", "secret": "x"})]}, "zone 'a': s3: there is no key 'secret'"),
        ({"zones": [zone("a", 0, 100), zone("b", 101), zone("a", 5, 6)]}, "two zones are called 'a'"),
        ({"zones": [zone("a", 0, 128), zone("b", 128)]}, r"zones 'a' \(0 to 128\) and 'b' \(128 to 255\) overlap"),
        ({"zones": [zone("a"), zone("b", 7, 9)]}, r"zones 'a' \(0 to 255\) and 'b' \(7 to 9\) overlap"),
        ({"zones": [zone("a", 1)]}, "no zone has the routes 0 to 0, before 'a'"),
        ({"zones": [zone("a", 0, 9), zone("b", 11)]}, "no zone has the routes 10 to 10, before 'b'"),
        ({"zones": [zone("a", 0, 9)]}, "no zone has the routes 10 to 255, after 'a'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, document, says):
    with pytest.raises(UsageError, match=rf"zones file {tmp_path}/zones.json: .*{says}"):
        zones.load(written(tmp_path, document))


@pytest.mark.parametrize(
    "text", ["zones: [", "!!python/object/apply:os.system ['true']", "a: &a [*a]\n", "\0", "[" * 5_000, "\udcff"]
)
def test_what_is_no_yaml_is_refused(tmp_path, text):
    path = tmp_path / "zones.yaml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UsageError, match="zones file"):
        zones.load(path)
    with pytest.raises(UsageError, match="cannot read the zones file"):
        zones.load(tmp_path / "none.yaml")


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def parts() -> list[Part]:
    return [
        Part(range(100, 256), Counting(MemoryObjects("second"))),
        Part(range(100), Counting(MemoryObjects("first"))),
    ]


async def test_files_come_from_the_zone_of_their_route(parts, offload):
    files = [File(str(number), b"%d" % number) for number in range(256)]
    big = File("big", bytes(5000), block=1000)
    for part in parts:
        await put_all(part.store, [one for one in [*files, big] if route_index(one.uid, 8) in part.routes])
        part.store.take()
    reader = ArchiveReader(Stores(parts, 8), offload)
    for one in (files[99], files[100], big):
        assert await reader.get(one.uid, DAY) == one.content
    assert all(part.store.take() for part in parts)
    async with reader.get_many([(one.uid, DAY) for one in files]) as outcomes:
        assert {one.uid: one.content async for one in outcomes} == {one.uid: one.content for one in files}
    assert sorted([one.uid async for one in reader.files()]) == sorted(one.uid for one in [*files, big])


async def test_what_lies_in_the_wrong_zone_is_not_there(parts, offload):
    await put_all(parts[0].store, [File("0", b"lost"), File("200", b"found")])
    reader = ArchiveReader(Stores(parts, 8), offload)
    with pytest.raises(ObjectMissing):
        await reader.get("0", DAY)
    assert [one.uid async for one in reader.files()] == ["200"]


async def test_verifying_finds_what_lies_in_the_wrong_zone(parts, offload):
    await put_all(parts[0].store, [File("0", b"lost"), File("200", b"found")])
    seen = await verify(Stores(parts, 8), offload, lambda *_: None)
    assert seen.shards == 1
    assert seen.proof.faults == ["20240101_00_0000.des: it lies in memory://second, where nobody looks for its route"]
    shared = [Part(part.routes, Counting(parts[0].store)) for part in parts]
    seen = await verify(Stores(shared, 8), offload, lambda *_: None)
    assert (seen.shards, seen.proof.faults) == (2, [])


def test_stores_hold_each_route_once():
    store = MemoryObjects()
    for ranges in ([], [range(255)], [range(1, 256)], [range(10), range(9, 256)], [range(10), range(11, 256)]):
        with pytest.raises(UsageError, match="route"):
            Stores([Part(one, store) for one in ranges], 8)


async def test_the_wrong_number_of_bits_is_said(offload):
    store = MemoryObjects()
    await put_all(store, [File("200", b"1"), File("300", b"2")], n_bits=8)
    for n_bits in (4, 12, 7):
        reader = ArchiveReader(store, offload, n_bits)
        with pytest.raises(UsageError, match=f"not of an archive with {n_bits} bits"):
            assert [one async for one in reader.files()]
